"""One model out of several: opened, checked, fused tensor by tensor, and written."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core import new_folder
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import one_line, say
from jtransfer.fusing import agreeing, aligning, dest, ensembles, judging, line, source
from jtransfer.fusing import norms as statistics
from jtransfer.fusing.source import Source
from jtransfer.fusion import METHODS, averaging, methods
from jtransfer.fusion.method import FISHERS, GRAMS
from jtransfer.fusion.soup import greedy
from jtransfer.fusion.trees import at_path
from jtransfer.runs import folder as folders
from jtransfer.weights.formats.lazy import Lazy

GREEDY, SWA, EMA, WISE = "greedy", "swa", "ema", "wise"
CHOSEN = {
    GREEDY: "the greedy soup, chosen on the validation split",
    SWA: "the mean of the checkpoints of one run",
    EMA: "their exponential moving average",
    **ensembles.WAYS,
}
"""Ways that are none of `fusion.METHODS`, and what they are."""


class Asked(NamedTuple):
    """What is asked for, as `fuse` has it."""

    how: str
    weights: Sequence[float] | None
    norms: str
    seed: int
    examples: int
    fields: Mapping[str, Any]


def fuse(
    sources: Sequence[str | os.PathLike],
    to: str | os.PathLike,
    how: str = "uniform",
    *,
    base: str | os.PathLike = "",
    weights: Sequence[float] | None = None,
    config: Any = None,
    step: int | str | None = None,
    heads: str = agreeing.KEEP,
    norms: str = "",
    seed: int = 0,
    examples: int = 1000,
    curve: Sequence[float] = (),
    shifted: Sequence[str] = (),
    align: bool = False,
    **fields: Any,
) -> None:
    """Fuses models of one architecture into a new folder, which is a run's where the first of them is one.

    Args:
      sources: Folders of runs, any weights as `config.init` takes them, or adapters of a base.
      to: A local folder that is new or empty.
      how: A name of `fusion.METHODS` or of `CHOSEN`.
      base: The model that all began from, for the ways that need it.
      weights: A number for each model.
      config: Of the data, for the ways that look at some; None takes that of the first source that is a run.
      step: Of the runs, as `runs.open` takes it.
      heads: "keep", or "drop", which fuses models whose heads are of other classes.
      norms: The examples of which the statistics of batch norms are taken anew, "train" or an expression such as
        "train[:2000]"; or "keep", which averages those of the models. "" is the better of "train" and "keep" by the
        validation split, or "keep" where there is none.
      seed: Of random numbers.
      examples: Training examples that "fisher" and "regmean" look at.
      curve: Of "wise", the places that are tried; that with the best validation score is taken.
      shifted: Of "wise", data sets as in `config.data.name` that the curve shows beside the test split.
      align: Whether the units of all models but the first are put in the order that is nearest to it, first.
      **fields: Of the way, such as `density=0.2`.

    Raises:
      InputError: The models can't be fused, or something that is needed is not given; nothing is written then.
    """
    if how not in CHOSEN and how not in METHODS and ":" not in how:
        raise unknown("way to fuse", how, (*METHODS, *CHOSEN))
    if curve and (how != WISE or "alpha" in fields):
        raise InputError("curve is of 'wise', and chooses alpha; leave alpha out")
    if shifted and not curve:
        raise InputError("shifted sets are shown by a curve; give curve, such as 0,0.1,…,1, with 'wise'")
    new_folder.check_new(to)
    if how in ensembles.WAYS:
        if align or norms or heads != agreeing.KEEP:
            raise InputError(f"{how!r} leaves the models as they are; leave align, norms and heads out")
        return ensembles.write(_each(sources, step, base), to, how, weights, config, fields)
    opened, method, weights, fields = _opened(sources, how, base, step, weights, fields)
    start = [source.open(base, step=None)] if base else []
    opened, lines = agreeing.agreed([*opened, *start], heads)
    models, start = (opened[:-1], opened[-1]) if base else (opened, None)
    if base and not methods.is_of_base(METHODS[method]) and not any(one.adapted for one in models):
        say(f"? {how!r} does not look at the base")
    models = aligning.aligned(models, seed) if align else models
    asked = Asked(how, weights, norms, seed, examples, fields)
    needed = _needs_data(how, norms, curve, method)
    looks = needed or (norms != statistics.KEEP and judging.has_norms(models[0]))
    run = _data(models, config, os.fspath(to), needed) if looks else None
    for text in (*(note for one in models for note in one.notes), *lines):
        say(one_line(text))
    made, told = _made(models, start, asked, method, run, curve, shifted)
    told = {"how": how, "sources": [one.name for one in models], "base": os.fspath(base), **told}
    first, whole = models[0], heads == agreeing.KEEP
    (dest.write_run if first.run and whole else dest.write_checkpoint)(to, made, first, told)


def _opened(sources: Any, how: str, base: Any, step: Any, weights: Any, fields: dict) -> tuple:
    """The models, the name of the method, their weights, and its fields."""
    if how in (SWA, EMA):
        if len(sources) != 1 or step is not None or weights is not None:
            raise InputError(f"{how!r} averages the checkpoints of one run; give one run, no step and no weights")
        steps = source.steps_of(sources[0])
        decay = fields.pop("decay", 0.9) if how == EMA else None
        weights = averaging.decaying(len(steps), decay) if decay is not None else None
        say(f"the checkpoints of {sources[0]}: steps {', '.join(map(str, steps))}")
        return [source.open(sources[0], step=one) for one in steps], "uniform", weights, fields
    method = "uniform" if how == GREEDY else how
    if how == GREEDY and (weights is not None or fields):
        raise InputError("in the greedy soup all members weigh the same; leave weights and fields out")
    methods.check(method, len(sources), weights, fields, base=bool(base))
    return _each(sources, step, base), method, weights, fields


def _each(sources: Sequence[str | os.PathLike], step: int | str | None, base: str | os.PathLike) -> list[Source]:
    if step is not None and not any(map(folders.is_run, sources)):
        raise InputError("step is of runs, and none of the models is one; leave it out")
    return [source.open(one, step=step, base=base) for one in sources]


def _needs_data(how: str, norms: str, curve: Sequence[float], method: str) -> str:
    """What data are needed for, in words; "" where they are not."""
    if how == GREEDY:
        return "the greedy soup"
    if curve:
        return "a curve"
    if norms not in ("", statistics.KEEP):
        return f"norms={norms!r}"
    return repr(method) if {FISHERS, GRAMS} & set(METHODS[method].needs) else ""


def _data(models: Sequence[Source], config: Any, to: str, needed: str) -> judging.Run | None:
    """The data, where there are some; without them nothing that is needed can be done."""
    first = models[0]
    own = next((one.run.config for one in models if one.run), None)
    chosen = config if config is not None else own
    if chosen is None:
        if needed:
            raise InputError(f"{needed} needs data; give --config=FILE")
        return None
    try:
        return judging.opened(chosen, first, to)
    except InputError as error:
        if needed or config is not None:
            raise
        say(one_line(f"? the data of {first.name} can't be read ({error})"))
        return None


def _made(
    models: Sequence[Source],
    start: Source | None,
    asked: Asked,
    method: str,
    run: judging.Run | None,
    curve: Sequence[float],
    shifted: Sequence[str],
) -> tuple[dict[str, Lazy], dict[str, Any]]:
    """The fused tensors, and what is told of them."""
    finish, told = statistics.of(models[0], asked.norms, run)
    told = dict(told)
    if asked.how == GREEDY:
        assert run is not None
        found, more = _greedy(models, run, finish)
        return _held(found), told | more
    fields = dict(asked.fields)
    if curve:
        assert run is not None
        fields["alpha"], more = line.chosen(models[0], start, run, curve, shifted, finish)
        told |= more
    weights = methods.check(method, len(models), asked.weights, fields, base=start is not None)
    usual = {name: value for name, value in methods.fields_of(method).items() if name not in fields}
    _tell(method, weights, fields | usual)
    given = _given(method, models, run, asked)
    fused = _lazy(method, models, start, weights, asked.seed, given, fields)
    told |= {"weights": weights, "fields": fields | usual, "seed": asked.seed}
    if finish is None:
        return fused, told
    return _held(finish(trees.unflatten({path: tensor.read() for path, tensor in fused.items()})).variables), told


def _greedy(models: Sequence[Source], run: judging.Run, finish: Any) -> tuple[dict, dict]:
    judging.check_classes(run, models[0])
    score = judging.scorer(run)
    found = greedy([functools.partial(source.variables_of, one.leaves) for one in models], score, finish=finish)
    name = judging.metric(run)
    for number in sorted(range(len(models)), key=lambda number: -found.scores[number]):
        joined = "joins" if number in found.members else "is left out"
        value = judging.written(run, judging.VALIDATION, judging.shown(run, found.scores[number]))
        say(f"  {value}  {models[number].name} {joined}")
    value = judging.shown(run, found.score)
    told = judging.written(run, judging.VALIDATION, value)
    say(f"{name} {told} on the validation split, by which the order and the members were chosen")
    return found.variables, {
        "members": [models[number].name for number in found.members],
        "metric": name,
        "validation": value,
        "interval": judging.interval(run, judging.VALIDATION, value),
        "alone": [judging.shown(run, score) for score in found.scores],
        "protocol": "order and members chosen on the validation split",
    }


def _tell(method: str, weights: Sequence[float], fields: Mapping[str, Any]) -> None:
    said = [f"weights {', '.join(f'{weight:.4g}' for weight in weights)}"] if methods.is_weighted(method) else []
    said += [f"{name} {value}" for name, value in fields.items()]
    say(f"{method}: {', '.join(said) or 'no fields'}")


def _given(method: str, models: Sequence[Source], run: judging.Run | None, asked: Asked) -> dict[str, list[dict]]:
    needs = METHODS[method].needs
    if not {FISHERS, GRAMS} & set(needs):
        return {}
    assert run is not None
    judging.check_classes(run, models[0])
    every = (source.variables_of(one.leaves) for one in models)
    if FISHERS in needs:
        return {FISHERS: [judging.fishers(run, one, asked.examples, asked.seed) for one in every]}
    found = [judging.grams(run, one, asked.examples) for one in every]
    say(
        f"regmean: of {len(models[0].leaves)} arrays, {len(found[0])} are kernels of dense layers; the rest is averaged"
    )
    return {GRAMS: found}


def _lazy(
    method: str,
    models: Sequence[Source],
    start: Source | None,
    weights: Sequence[float],
    seed: int,
    given: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> dict[str, Lazy]:
    """The fused tensors, each of which is computed when it is read."""

    names = [one.name for one in models]

    def read(path: str) -> np.ndarray:
        held = [one.leaves[path] for one in (*models, *([start] if start else []))]
        arrays = [leaf.read() for leaf in held]
        at = at_path(given, path)
        base = arrays.pop() if start else None
        found = methods.fuse_arrays(
            method, path, arrays, weights, base=base, seed=seed, given=at, fields=fields, names=names
        )
        for leaf in held:
            leaf.release()
        return found

    return {
        path: Lazy(leaf.shape, leaf.dtype, functools.partial(read, path)) for path, leaf in models[0].leaves.items()
    }


def _held(variables: Mapping[str, Any]) -> dict[str, Lazy]:
    leaves = source.in_memory(variables)
    return {path: Lazy(leaf.shape, leaf.dtype, leaf.read) for path, leaf in leaves.items()}
