"""The adapters of a run: those that its config asks for, and those that it begins with from another run."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import peft
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.models import forward
from jtransfer.runs import adapters_init
from jtransfer.weights.formats.lazy import Lazy
from jtransfer.weights.shapes import abstract

COLLECTION = "adapters"
_PREFIX = f"{COLLECTION}/"


class Wanted(NamedTuple):
    """The adapters that a run is to have.

    Attributes:
      rows: of its config.
      shapes: the collection, of shapes; {} where there are none.
    """

    rows: list[list[Any]]
    shapes: dict[str, Any]


class Begun(NamedTuple):
    """What a run begins with from another run that has adapters.

    Attributes:
      tensors: path → tensor, without adapters.
      adapters: the collection of those that go on, in their shardings; {} where none do.
      notes: what was done with them, in words.
    """

    tensors: Mapping[str, Any]
    adapters: dict[str, Any]
    notes: tuple[str, ...]


def drawn(run: Any, variables: dict, key: jax.Array) -> dict:
    """Returns the collection "adapters" that a run begins with, under its name; {} where it has none, or has them
    already. Pure."""
    if not _any(run.config) or COLLECTION in variables:
        return {}
    made = {}
    if run.config.adapters:
        sites = peft.sites(run.model, variables, run.sample)
        made = peft.init(key, run.config.adapters, sites, variables["params"])
    return {COLLECTION: adapters_init.joined(run, made)}


def _any(config: Any) -> bool:
    return bool(config.adapters or config.adapters_init)


def trained(run: Any) -> Any:
    """Returns the config with what its phases train where they do not say it: with adapters, these and the head; but
    these alone where the task generates, with the head that the model was trained with."""
    config = run.config
    if not _any(config) or all(phase.trainable != "" for phase in config.phases):
        return config
    parts = [COLLECTION, *(() if run.target.task.generates else map(re.escape, _heads(run)))]
    config = config.copy_and_resolve_references().unlock()
    for phase in config.phases:
        if phase.trainable == "":
            phase.trainable = f"({'|'.join(parts)})/.*" if len(parts) > 1 else f"{COLLECTION}/.*"
    return config.lock()


def _heads(run: Any) -> list[str]:
    """The module that is the model's head, or nothing where that has no parameters."""
    if stages := forward.stages(run.model):
        return [stages[-1]]
    return [path for path, site in _sites(run).items() if site.is_head and site.leaf]


def _sites(run: Any) -> dict[str, peft.Site]:
    variables = jax.eval_shape(lambda: forward.initialize(run.model, jax.random.key(0), run.sample))
    return peft.sites(run.model, variables, run.sample)


def told(run: Any, variables: trees.Tree) -> Iterator[str]:
    """Yields lines on what a config left open of adapters: which modules a word stands for; and that no phase trains
    them.

    Args:
      run: the run.
      variables: shapes of what may be trained.
    """
    words = [row for row in run.config.adapters if row[0] in peft.WORDS]
    sites = _sites(run) if words else {}
    for row in words:
        kinds = Counter(peft.kind(one.site.path) for one in peft.plan([row], sites))
        named = ", ".join(f"{path} ({count})" if count > 1 else path for path, count in kinds.items())
        yield f"adapters: {row[0]!r} stands for {sum(kinds.values())} modules: {named}"
    moving = (mask.get(COLLECTION, {}) for mask in (phase.trainable for phase in run.phases))
    if COLLECTION in variables and not any(any(trees.flatten(mask).values()) for mask in moving):
        yield "adapters: no phase trains them; a phase without `trainable` does, or trainable='(adapters|head)/.*'"


def rows_of(config: Any) -> list[list[Any]]:
    """Returns the table of adapters of a config as plain JSON, so that two can be compared."""
    return [[*row[:2], row[2] if len(row) > 2 else {}] for row in json.loads(json.dumps(config.adapters))]


def begun(source: Any, held: Mapping[str, Any], wanted: Wanted | None, mesh: Any, table: Any) -> Begun:
    """Returns what a run begins with from another one: adapters go on if they are the same, or else are merged.

    Args:
      source: the other run, a `StoredRun`.
      held: path → tensor, of its variables.
      wanted: what the run is to have; None is nothing.
      mesh, table: see `sharding.of_params`.

    Raises:
      InputError: they are not the same, and can't be merged.
    """
    own = {path.removeprefix(_PREFIX): tensor for path, tensor in held.items() if path.startswith(_PREFIX)}
    rest = {path: tensor for path, tensor in held.items() if not path.startswith(_PREFIX)}
    if not own:
        return Begun(rest, {}, ())
    shapes = trees.flatten(wanted.shapes) if wanted and wanted.rows == rows_of(source.config) else {}
    if own.keys() == shapes.keys() and all(own[path].shape == shapes[path].shape for path in own):
        placed = trees.flatten(sharding.of_params({COLLECTION: trees.unflatten(shapes)}, mesh, table)[COLLECTION])
        going_on = {path: sharding.place(np.asarray(tensor.read()), placed[path]) for path, tensor in own.items()}
        return Begun(rest, trees.unflatten(going_on), (f"the adapters of {source.folder} go on",))
    merged = _merged(rest, own, peft.sites(source.model, abstract(source.model, source.sample), source.sample))
    return Begun(merged, {}, (f"the adapters of {source.folder} are merged into the parameters",))


def _merged(held: Mapping[str, Any], adapters: Mapping[str, Any], sites: Mapping[str, peft.Site]) -> dict[str, Any]:
    """The tensors of a model, those of adapted modules with their adapters merged, in float32."""
    tree = trees.unflatten({path: np.asarray(tensor.read()) for path, tensor in adapters.items()})
    modules = tuple(f"params/{one.path}/" for one in peft.adapted(tree))
    touched = {path.removeprefix("params/"): held[path] for path in held if path.startswith(modules)}
    wide = {path: np.asarray(tensor.read()).astype(np.float32) for path, tensor in touched.items()}
    merged = trees.flatten(peft.merge(trees.unflatten(wide), tree, sites))
    return {**held, **{f"params/{path}": _held(np.asarray(array)) for path, array in merged.items()}}


def _held(array: np.ndarray) -> Lazy:
    return Lazy(array.shape, array.dtype, lambda: array)
