"""Weights of models that are made of others: each part is filled from a source of its own."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jtransfer import models, weights
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.weights import digests
from jtransfer.weights.report import Report

FIRST = "source"  # the part that `config.init` is of
LAST = "target"  # the part that is given no data, but what another part gives
Load = Callable[[weights.Source, Any, str], tuple[dict, Report | None]]


def check(name: str, fields: Mapping[str, Any], init: Any, given: Mapping[str, Any]) -> None:
    """Checks that the parts that weights are given for are there.

    Args:
      name: The name of the model.
      fields: Its fields.
      init: `config.init`, where it is not the folder of a run of the same model; else "scratch".
      given: `config.init_parts`.

    Raises:
      InputError: The model is not made of others or has no such part, or a part is given two sources.
    """
    found = models.parts(name, fields)
    if given and name not in models.MADE:
        raise InputError(f"init_parts is for models that are made of others ({', '.join(models.MADE)}), not {name!r}")
    for part, source in given.items() if found else ():
        if part not in found:
            raise unknown("part in init_parts", part, found)
        if not isinstance(source, str) or not source:
            raise InputError(f"init_parts.{part}={source!r} must be a path or an address, as init")
    if init != "scratch" and found and FIRST not in found:
        raise InputError(f"init={init!r:.200} is of no part of {name}; give init_parts, of {', '.join(found)}")
    if init != "scratch" and FIRST in given:
        raise InputError(f"init is of the part {FIRST!r}, and so is init_parts.{FIRST}; leave one out")


def sources(init: weights.Source, given: Mapping[str, weights.Source]) -> dict[str, weights.Source]:
    """Returns the sources of the parts that have one, with that of `config.init`."""
    first = {} if isinstance(init, str) and init == "scratch" else {FIRST: init}
    return {part: source for part, source in {**first, **given}.items() if source != "scratch"}


def fill(
    model: Any,
    found: Mapping[str, weights.Source],
    load: Load,
    draw: Callable[[], dict],
    shardings: trees.Tree,
    reinit: Sequence[str],
) -> tuple[dict, Report]:
    """Returns the variables of a model that is made of others, those of its parts from their sources, and a report.

    Args:
      model: The model, which has `parts_of`.
      found: Part → its source.
      load: A function from a source, the model of a part and its name to the part's variables and the report.
      draw: A function that draws all variables anew.
      shardings: Of the variables.
      reinit: As `config.reinit`.
    """
    shapes, placed = jax.eval_shape(draw), trees.flatten(shardings)
    flat = trees.flatten(shapes)
    again = trees.flatten(rules.match([*((p, True) for p in reinit), (".*", False)], shapes, name="reinit"))
    held, reports, drawn = {}, [], {}
    for name, part in model.parts_of.items():
        if name not in found:
            continue
        variables, report = load(found[name], part.model, name)
        path_of = functools.partial(_path, part.stages)
        moved = {path: leaf for own, leaf in trees.flatten(variables).items() if (path := path_of(own, 1))}
        held |= {path: leaf for path, leaf in moved.items() if not again.get(path)}
        assert report is not None
        drawn |= {path: why for own, why in report.reinitialised if (path := path_of(own, 0))}
        reports.append(_within(report, name, path_of))
    names = rules.names(shapes)
    fresh = [path for path in flat if path not in held]
    new = jax.jit(lambda: {path: trees.flatten(draw())[path] for path in fresh}, out_shardings=_of(placed, fresh))()
    variables = {path: new[path] if path in new else jax.device_put(held[path], placed[path]) for path in flat}
    reasons = {names[path]: "asked for" if again.get(path) else "not of a part with weights" for path in fresh}
    return trees.unflatten(variables), _joined(reports, reasons | drawn)


def _of(placed: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    return {path: placed[path] for path in paths}


def _path(stages: Mapping[str, str], own: str, depth: int) -> str | None:
    """The path in the whole of a path in a part, of which the first `depth` names are those of collections."""
    names = own.split("/")
    stage = stages.get(names[depth]) if len(names) > depth else None
    return None if stage is None else "/".join([*names[:depth], stage, *names[depth + 1 :]])


def _within(report: Report, part: str, path_of: Callable[[str, int], str | None]) -> Report:
    return Report(
        source=report.source,
        scheme=report.scheme,
        digest=report.digest,
        loaded=[(new, names, shape) for path, names, shape in report.loaded if (new := path_of(path, 0))],
        reinitialised=[],
        ignored=[(f"{part}: {name}", why) for name, why in report.ignored],
        digests={f"{part}: {name}": digest for name, digest in report.digests.items()},
        adapted=[(new, what) for path, what in report.adapted if (new := path_of(path, 0))],
        differs=[(f"{part}.{field}", ours, theirs) for field, ours, theirs in report.differs],
        unsure=[f"{part}.{field}" for field in report.unsure],
        notes=[f"{part}: {line}" for line in report.notes],
    )


def _joined(reports: Sequence[Report], drawn: Mapping[str, str]) -> Report:
    def every(field: str) -> list:
        return [one for report in reports for one in getattr(report, field)]

    told = {f"{number} {report.source}": report.digest for number, report in enumerate(reports)}
    return Report(
        source=" + ".join(report.source for report in reports),
        scheme=" + ".join(report.scheme for report in reports),
        digest=digests.combine(told) if all(told.values()) else "",
        loaded=every("loaded"),
        reinitialised=tuple(drawn.items()),
        ignored=every("ignored"),
        digests={name: digest for report in reports for name, digest in report.digests.items()},
        adapted=every("adapted"),
        differs=every("differs"),
        unsure=every("unsure"),
        notes=every("notes"),
    )
