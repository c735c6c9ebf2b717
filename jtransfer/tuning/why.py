"""Why a candidate was chosen, in lines and as a figure."""

import io
from collections.abc import Iterator, Mapping, Sequence

from jtransfer.metrics import SHARE, intervals
from jtransfer.metrics import get as metric_of
from jtransfer.tuning.candidates import STRATEGIES, Candidate
from jtransfer.tuning.setting import Setting
from jtransfer.tuning.tried import Result


def lines(made: Setting, found: Sequence[Candidate], results: Mapping[str, Result]) -> Iterator[str]:
    """Yields what there is to say of a choice.

    Args:
      made: Of the choice.
      found: The candidates, the winner first.
      results: What they have come to.
    """
    size = len(made.run.target.whole["train"])
    each = f", {size / made.classes:.0f} of each of {made.classes} classes" if made.classes else ""
    named = made.run.config.data.validation
    chosen = (
        f"chosen by data.validation={named!r}" if named else f"chosen by a part held out of it, {made.validation!r}"
    )
    yield f"{size:,} training examples{each}; {chosen} ({made.held:,} examples); the test split was not looked at"
    yield f"{'strategy':<20}{'rounds':>6}{'steps':>8}{'seconds':>9}  {made.metric} on the validation split"
    for candidate in found:
        yield _row(made, results[candidate.name])
    if not made.run.config.auto.candidates and (rest := STRATEGIES.keys() - {one.strategy for one in found}):
        yield f"can't be done with this model and these inputs: {', '.join(sorted(rest))}"
    best = found[0]
    yield f"chosen: {best.name}, {STRATEGIES[best.strategy].told}"
    yield from _verdict(made, found, results)


def _row(made: Setting, one: Result) -> str:
    said = one.why if one.value is None else _value(made, one.value)
    return f"{one.name:<20}{one.rounds:>6}{one.steps:>8}{one.seconds:>9.0f}  {said}"


def _value(made: Setting, value: float) -> str:
    if not _is_share(made):
        return f"{value:.4f}"
    low, high = intervals.wilson(value * made.held, made.held)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _is_share(made: Setting) -> bool:
    return made.metric == "accuracy" and metric_of(made.metric).kind == SHARE


def _verdict(made: Setting, found: Sequence[Candidate], results: Mapping[str, Result]) -> Iterator[str]:
    """Whether the pretrained weights are of use, by the best candidate with and the best without them."""
    best = {}
    for candidate in found:  # the best first
        if results[candidate.name].value is not None:
            best.setdefault(STRATEGIES[candidate.strategy].transfers, results[candidate.name])
    if len(best) < 2:
        return
    with_them, without = best[True], best[False]
    ahead = made.sign * (with_them.value - without.value)
    if _is_share(made):
        bounds = [intervals.wilson(one.value * made.held, made.held) for one in (with_them, without)]
        apart = bounds[0][0] > bounds[1][1] or bounds[1][0] > bounds[0][1]
    else:
        apart = False
    told = "the pretrained weights help" if ahead > 0 else "don't transfer: what is trained without them is better"
    sure = "" if apart else f", but {made.held:,} examples do not show it for sure"
    told = "no difference" if not ahead else told + sure
    yield (
        f"with the weights {_value(made, with_them.value)} ({with_them.name}), without "
        f"{_value(made, without.value)} ({without.name}): {told}"
    )


def figure(made: Setting, results: Mapping[str, Result]) -> bytes:
    """Returns the curves of all candidates on the validation split, as an SVG file."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 4), layout="constrained")
    axis = drawn.subplots()
    for one in results.values():
        if one.curve:
            steps, values = zip(*one.curve, strict=True)
            style = "-" if STRATEGIES[one.name.partition("@")[0]].transfers else "--"
            axis.plot(steps, values, style, marker="o", markersize=3, label=one.name)
    axis.set(xlabel="step", ylabel=f"{made.metric} on the validation split", xscale="log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    file = io.BytesIO()
    drawn.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
