"""How the tensors of a checkpoint fill a model's parameters, and what is wrong where they can't."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.models.paths import HEAD, in_head
from jtransfer.weights import adapt as adapting
from jtransfer.weights import heads, ignoring, maps, misfit, subtree
from jtransfer.weights.adapt import Change
from jtransfer.weights.mapping import Map, Match, Scheme, best

ASKED = "asked for"
_NO_HEAD = "the model has no head"


class Plan(NamedTuple):
    """What is to be done with each tensor and each parameter of a load.

    Parameters go by their paths without the variable collection.

    Attributes:
      tensors: those that are looked at: of several networks in the source, those of one, by their names in it.
      match: which tensors fill which parameters, by the scheme that fits best.
      params: shape and dtype of each parameter.
      full_paths: the path with the collection of each parameter, such as "params/stem/conv/kernel".
      drawn: the parameters that are drawn anew, with the reason.
      kept: the head's parameters, if it keeps some of its classes and others are drawn anew.
      changes: what makes the source's array fit, for parameters whose shape or grid is another in the source.
      prefix: what the names of the tensors begin with in the source; "" where they are all.
      notes: the line that says which network it is.
    """

    tensors: Mapping[str, Any]
    match: Match
    params: dict[str, jax.ShapeDtypeStruct]
    full_paths: dict[str, str]
    drawn: dict[str, str]
    kept: set[str]
    changes: dict[str, Change]
    prefix: str = ""
    notes: tuple[str, ...] = ()

    @property
    def filled(self) -> int:
        """The number of parameters that the tensors fill."""
        return len(self.params) - len(self.match.missing)


def make(
    name: str,
    tensors: Mapping[str, Any],
    model: Any,
    model_shapes: dict,
    *,
    reinit: Sequence[str],
    adapt: bool,
    classes: tuple[Sequence[str], Sequence[str]] | None,
    source_image_size: tuple[int, int] | None,
    written: str = "",
) -> Plan:
    """Returns how the tensors of a checkpoint fill a model. No tensor is read.

    Args:
      name: what to call the checkpoint in an error.
      tensors: by name; they need a shape and a dtype.
      model: a model of `jtransfer.models`.
      model_shapes: the shapes of its variables, from `shapes.abstract`.
      reinit, adapt, source_image_size: as for `load`.
      written: the naming scheme of what a converted checkpoint was converted from; else "".
      classes: the names of the classes of the checkpoint and of the model; None where they are not known.

    Raises:
      InputError: the checkpoint does not fit.
    """
    flat = trees.flatten(model_shapes)
    full_paths = {path: full for full, path in rules.names(model_shapes).items()}
    params = {path: flat[full] for path, full in full_paths.items()}
    schemes = (*maps.schemes(model), *_own_names(full_paths, model))

    def trial(tensors: Mapping[str, Any]) -> tuple[Plan, list[str]]:
        match = best(schemes, tensors, params)
        drawn = _reinitialised(match, tensors, params, model_shapes, reinit, model)
        kept = _kept(match, tensors, params, drawn, classes)
        drawn = {path: why for path, why in drawn.items() if path not in kept}
        settled = {*drawn, *kept}
        changes = _changes(match, tensors, params, settled, model, source_image_size if adapt else None, written)
        wrong = _complaints(match, tensors, params, settled, changes, adapt)
        return Plan(tensors, match, params, full_paths, drawn, kept, changes), wrong

    plan, wrong = trial(tensors)
    if not plan.match.assignments and not maps.schemes(model):
        maps.family(model)
    if not wrong:
        return plan
    found, nearest = {}, (name, plan, wrong)
    for prefix in subtree.prefixes(tensors, max(1, len(params) // 4)):
        inner, problems = trial(subtree.below(tensors, prefix))
        if not problems and inner.filled > plan.filled:
            found[prefix] = inner
        elif inner.filled > nearest[1].filled and 2 * len(problems) < len(nearest[2]):
            nearest = (f"{name}:{prefix}", inner, problems)
    most = max((inner.filled for inner in found.values()), default=0)
    equal = [prefix for prefix, inner in found.items() if inner.filled == most]
    fitting = [prefix for prefix in equal if not any(prefix.startswith(f"{outer}.") for outer in equal)]
    if not fitting:
        raise misfit.error(nearest[0], nearest[1].tensors, model, nearest[1].match, nearest[2])
    taken = subtree.choose(fitting, name)
    return found[taken]._replace(prefix=taken, notes=subtree.note(taken, fitting))


def _own_names(full_paths: Mapping[str, str], model: Any) -> tuple[Scheme, ...]:
    """A source that has the model's own paths, such as another run's parameters, with or without the collections."""
    rows = (Map(full, path) for path, full in full_paths.items()), (Map(path, path) for path in full_paths)
    head = (rf"(\w+/)?{HEAD}/.*",) if getattr(model, "head", None) == "embed" else ()
    return tuple(Scheme("jtransfer", tuple(row), ignore=(), head=head) for row in rows)


def _reinitialised(
    match: Match, tensors: Mapping, params: Mapping, model_shapes: dict, reinit: Sequence[str], model: Any
) -> dict[str, str]:
    """Path → why it is drawn anew."""
    table = [*((pattern, True) for pattern in reinit), (".*", False)]
    chosen = trees.flatten(rules.match(table, model_shapes, name="reinit"))
    drawn = {path: ASKED for full, path in rules.names(model_shapes).items() if chosen[full]}
    head = [path for path in params if in_head(path)]
    why = _head_misfit(match, tensors, params, head, getattr(model, "num_classes", None))
    others = heads.drawn(match.missing, params) or (dict.fromkeys(head, why) if why else {})
    return others | drawn


def _head_misfit(
    match: Match, tensors: Mapping, params: Mapping, head: Sequence[str], num_classes: int | None
) -> str | None:
    """Why the source's head can't be this model's: it has another number of classes."""
    for path, shape in _shapes(match, tensors):
        want = params[path].shape
        if path in head and shape and want and shape[:-1] == want[:-1] and shape[-1] != want[-1] == num_classes:
            return f"{shape[-1]} classes in the source, {want[-1]} here"
    return None


def _kept(
    match: Match,
    tensors: Mapping,
    params: Mapping,
    drawn: Mapping,
    classes: tuple[Sequence[str], Sequence[str]] | None,
) -> set[str]:
    """The head's paths, where some of its classes but not all are the source's."""
    if classes is None or classes[0] == classes[1] or set(classes[0]).isdisjoint(classes[1]):
        return set()
    return {
        path
        for path, shape in _shapes(match, tensors)
        if in_head(path) and shape and shape[:-1] == params[path].shape[:-1] and drawn.get(path) != ASKED
    }


def _changes(
    match: Match,
    tensors: Mapping,
    params: Mapping,
    settled: Collection,
    model: Any,
    source_image_size: tuple[int, int] | None,
    written: str,
) -> dict[str, Change]:
    """Path → what would make the source's array fit, where its shape or its grid is another."""
    antialias = not (written or match.scheme.name).startswith("transformers")  # which resizes positions without
    return {
        path: change
        for path, shape in _shapes(match, tensors)
        if path not in settled and shape
        if (change := adapting.change(path, shape, params[path].shape, model, source_image_size, antialias))
    }


def _shapes(match: Match, tensors: Mapping) -> list[tuple[str, tuple[int, ...] | None]]:
    """Path and shape, as the source's tensors would give it, of each parameter that they fill."""
    return [
        pair
        for assignment in match.assignments
        for pair in zip(assignment.param_paths, assignment.shapes(tensors), strict=True)
    ]


def _complaints(
    match: Match, tensors: Mapping, params: Mapping, settled: Collection, changes: Mapping[str, Change], adapt: bool
) -> list[str]:
    lines = [f" - {path} {_text(params[path])}" for path in match.missing if path not in settled]
    lines += [f" + {name} {_text(tensors[name])}" for name in match.unexpected]
    for assignment in match.assignments:
        names = assignment.source_names
        kinds = [tensors[name].dtype for name in names]
        for path, shape in zip(assignment.param_paths, assignment.shapes(tensors), strict=True):
            numbers = all(jnp.issubdtype(kind, jnp.floating) or kind == params[path].dtype for kind in kinds)
            fits = shape == params[path].shape or (adapt and path in changes)
            if path not in settled and not (numbers and fits):
                given = ", ".join(f"{name} {_text(tensors[name])}" for name in names)
                hint = f" (adapt=True changes it: {changes[path].what})" if path in changes and not adapt else ""
                lines.append(f" ! {path}: the model has {list(params[path].shape)}, the source {given}{hint}")
    return lines


def ignored(plan: Plan, tensors: Mapping[str, Any], asked: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """Returns the names of the tensors that fill nothing, each with the reason.

    Args:
      plan: of the load.
      tensors: of the source.
      asked: the names of those that were not to be looked at.
    """
    start = f"{plan.prefix}."
    replaced = [assignment for assignment in plan.match.assignments if plan.drawn.keys() >= set(assignment.param_paths)]
    beside = [name for name in tensors if not name.startswith(start)] if plan.prefix else []
    return (
        *((name, _why_ignored(plan.match.scheme, name)) for name in plan.match.ignored),
        *((name, heads.OTHER) for name in plan.match.others),
        *((name, "re-initialised instead") for assignment in replaced for name in assignment.source_names),
        *((name, f"beside {plan.prefix}") for name in beside),
        *((name, ignoring.ASKED) for name in asked),
        *((name, "no tensor") for name in getattr(tensors, "left_out", ())),
    )


def _why_ignored(scheme: Scheme, name: str) -> str:
    if scheme.of_head(name):
        return _NO_HEAD
    return heads.OTHER if heads.is_other(name) else "carries nothing"


def _text(tensor: Any) -> str:
    return f"{np.dtype(tensor.dtype).name}{list(tensor.shape)}"
