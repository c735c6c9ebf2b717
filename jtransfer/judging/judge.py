"""Did the transfer help? A run that has ended, compared with baselines on its test split."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from jtransfer.core import stopping
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.judging import scratch, trivial
from jtransfer.runs import paired, verdicts
from jtransfer.runs.open import StoredRun
from jtransfer.runs.open import open as open_run
from jtransfer.runs.verdicts import SCRATCH, TRIVIAL, Compared, Verdict

Train = Callable[[Any, str], Any]
Found = Compared | str
_UNSUPERVISED = "the target's labels are not trained on, so that no baseline may be fitted to them"


def judge(folder: str | os.PathLike, settings: Mapping[str, Any] | None, train: Train) -> Verdict | None:
    """Compares a run that has ended with baselines, and keeps what came of it in the run's folder.

    What is kept of another time is not done again, and a run from scratch that was stopped goes on. No number of the
    run itself changes. With several JAX processes the first one compares with trivial baselines alone.

    Args:
      folder: of the run.
      settings: as `config.verdict`; None are those of the run's config.
      train: `train.run`.

    Returns:
      What the run was compared with; None where nothing was asked for.

    Raises:
      InputError: the folder is no run's, or the run has not ended.
    """
    run = open_run(folder)
    asked = run.config.verdict.to_dict() if settings is None else dict(settings)
    if jax.process_index() or not (asked["trivial"] or asked["scratch"]):
        return None
    lines = run.lines
    if not _has_ended(run, lines):
        raise InputError(f"{folder}: the run has not ended; go on with it by the command that began it")
    kept = run.predictions
    digest = verdicts.digest(kept)
    if "index" not in kept:
        found: list[Found] = ["the run has no predictions of examples of a test split"]
    elif not _is_supervised(run, lines):
        found = [_UNSUPERVISED]
    else:
        with stopping.beside(folder):
            found = list(_found(run, kept, asked, lines, train))
    compared = tuple(one for one in found if isinstance(one, Compared))
    verdict = Verdict(run.config.init != "scratch" or bool(run.config.init_parts), compared, _lines(found), digest)
    verdicts.write(folder, verdict)
    return verdict


def _lines(found: list[Found]) -> tuple[str, ...]:
    return tuple(one for one in found if isinstance(one, str))


def _found(run: StoredRun, kept: Mapping, settings: Mapping, lines: list[dict], train: Train) -> Iterator[Found]:
    metric = paired.metric_of(run.task, kept, run.class_names)
    if not metric:
        yield f"task={run.config.task!r} has no metric of single examples that could be compared"
        return
    yield from _scratch(run, kept, metric, settings["scratch"], train)
    if not settings["trivial"]:
        yield "it was not compared with trivial baselines, which config.verdict.trivial turns on"
        return
    seconds = sum(line["seconds"] for line in lines if line.get("event") == "phase_end" and "seconds" in line)
    for baseline in trivial.baselines(run, kept, settings["trivial"] * seconds):
        if isinstance(baseline, str):
            yield baseline
        else:
            yield from _compared(run, metric, kept, baseline.table, name=baseline.name, kind=TRIVIAL)


def _scratch(run: StoredRun, kept: Mapping, metric: str, share: float, train: Train) -> Iterator[Found]:
    if run.config.init == "scratch" and not run.config.init_parts:
        yield "nothing was transferred: the run itself began from scratch"
        return
    if not share:
        yield "it was not compared with the same model from scratch: python -m jtransfer.verdict RUN --scratch=1"
        return
    if jax.process_count() > 1:
        yield "several processes share the run; python -m jtransfer.verdict RUN --scratch=1 with one compares it"
        return
    folder = scratch.folder_of(run, share)
    try:
        if not _is_whole(folder):
            say(f"the same model from scratch, with {share:.0%} of the steps: {folder}")
            train(scratch.config_of(run, share), folder)
        table = open_run(folder).predictions
    except InputError as error:
        yield one_line(f"the same model could not be trained from scratch: {error}", 500)
        return
    yield from _compared(run, metric, kept, table, name="the same model from scratch", kind=SCRATCH, budget=share)


def _is_whole(folder: str) -> bool:
    if not (epath.Path(folder) / "config.json").exists():
        return False
    found = open_run(folder)
    return _has_ended(found, found.lines) and bool(found.predictions)


def _compared(run: StoredRun, metric: str, kept: Mapping, other: Mapping, **told: Any) -> Iterator[Found]:
    found = paired.compare(run.task, metric, run.metric(metric).less_is_better, kept, other, run.class_names)
    if found is None or not np.isfinite([found.first, found.second, found.low, found.high]).all():
        yield f"{told['name']}: the predictions of both can't be compared"
        return
    values = (found.first, found.second, found.low, found.high, found.examples, found.word)
    names = ("run", "baseline", "low", "high", "examples", "word")
    yield Compared(metric=metric, **dict(zip(names, values, strict=True)), **told)


def _has_ended(run: StoredRun, lines: list[dict]) -> bool:
    last = run.config.phases[-1].name
    return any(line.get("event") == "phase_end" and line.get("phase") == last for line in lines)


def _is_supervised(run: StoredRun, lines: list[dict]) -> bool:
    """Whether labels of the target are trained on, by what chose the model and by the streams that the task is on."""
    tested = (line.get("protocol", "") for line in reversed(lines) if line.get("split") == "test")
    if next(tested, "") not in ("", "validation", "last", "unselected"):
        return False
    terms = [(one, {}) if isinstance(one, str) else tuple(one) for one in run.config.objective]
    on = [fields.get("on") for name, fields in terms if name == "task" and isinstance(fields, Mapping)]
    return not any(streams is not None and "target" not in streams for streams in on)


def told(verdict: Verdict, title: Callable[[str], str]) -> Iterator[str]:
    """Yields what a verdict says, a line for each comparison and for what was left out.

    Args:
      verdict: the verdict.
      title: the name of a metric as people read it.
    """
    yield f"did the transfer help? {verdict.word}"
    for one in verdict.compared:
        share = f", with {one.budget:.0%} of the steps" if one.kind == SCRATCH and one.budget != 1 else ""
        yield (
            f"  {one.word} against {one.name}{share}: {title(one.metric)} {one.run:.4f}, not {one.baseline:.4f}; "
            f"the difference is within {one.low:+.4f} and {one.high:+.4f} (95 %, {one.examples:,} test examples"
            f"{', on which too few differ' if one.too_few else ''})"
        )
    for line in verdict.left_out:
        yield f"  {line}"


def judge_and_tell(folder: str | os.PathLike, settings: Mapping[str, Any] | None, train: Train) -> Verdict | None:
    """Judges a run and prints what came of it; arguments and errors as for `judge`."""
    verdict = judge(folder, settings, train)
    if verdict is not None:
        run = open_run(folder)
        say("\n".join(one_line(line, 500) for line in told(verdict, lambda name: run.metric(name).title)))
    return verdict
