"""A plan as lines of text."""

from collections.abc import Sequence
from typing import Any

from jtransfer.core.text_table import format_bytes, lay_out

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def head(there: Any, run: Any) -> str:
    """Returns a line on the devices, and how the run is laid on them."""
    axes = ", ".join(f"{axis} {size}" for axis, size in run.mesh.shape.items())
    limit = "" if there.limit is None else f", {format_bytes(there.limit)} each"
    return f"dry run on {there.name}{limit}; mesh: {axes}; batch of {run.config.batch_size}; nothing is written"


def phase(plan: Any, limit: float | None) -> str:
    """Returns what a phase needs: a table of its state, and lines on its steps."""
    cells = [("group", "shape", "sharding", "status", "numbers", "bytes a device", "optimizer")]
    cells += [
        (
            row.group,
            " × ".join(map(str, row.shape)) or "-",
            row.sharding,
            row.status,
            f"{row.params:,}",
            format_bytes(row.bytes),
            format_bytes(row.optimizer),
        )
        for row in plan.rows
    ]
    step = plan.step
    lines = [
        f"phase {plan.name}, {plan.steps:,} steps; on each device:",
        *lay_out(cells, align="<<<<>>>"),
        f"  state {format_bytes(plan.state)}; a training step: {format_bytes(step.total)} = "
        f"{format_bytes(step.arguments)} state and batch + {format_bytes(step.temporaries)} activations, gradients and "
        f"other temporaries + {format_bytes(step.results + step.code)} results"
        + (" and code" if step.code else "")
        + (f" + {format_bytes(step.products)} for fused products" if step.products else ""),
        f"  {_number(plan.flops)}FLOP a step over all devices{_traffic(plan.traffic)}{_time(plan)}",
        "  " + "; ".join(f"{name} {format_bytes(size)}" for name, size in plan.moments.items()),
        f"  peak {format_bytes(plan.peak)}" + (_against(plan.peak, limit) if limit else ""),
    ]
    return "\n".join(lines)


def verdict(plan: Any) -> str:
    """Returns whether a run fits."""
    largest = max(plan.phases, key=lambda phase: phase.peak)
    if plan.fits is None:
        return f"the run takes {format_bytes(largest.peak)} of each device; --hbm_gb says what these have"
    word = "fits" if plan.fits else "does not fit"
    return f"the run {word}: {format_bytes(largest.peak)} of {format_bytes(plan.limit)}, in phase {largest.name}"


def option(tried: Any, limit: float) -> str:
    """Returns what a change to the config would do."""
    if tried.peak is None:
        return f"  {tried.name}: not possible: {tried.reason}"
    word = "fits" if tried.fits else "does not fit"
    return f"  {tried.name}: {format_bytes(tried.peak)}, {word}: {' '.join(tried.flags)}"


def advice(tried: Sequence[Any]) -> str:
    """Returns which changes would make a run fit."""
    fitting = [one for one in tried if one.fits]
    if not fitting:
        return "nothing of this makes it fit: give it more devices, a smaller batch_size, or a smaller model"
    return f"{' or '.join(one.name for one in fitting)} would make it fit"


def _against(peak: float, limit: float) -> str:
    return f" of {format_bytes(limit)} ({peak / limit:.0%})"


def _traffic(found: Any) -> str:
    told = [f"{count} {kind} of {format_bytes(size)}" for kind, (count, size) in found.items()]
    return f"; devices exchange: {', '.join(told)}" if told else ""


def _time(plan: Any) -> str:
    if plan.seconds is None:
        return ""
    return f"; {1000 * plan.seconds:,.1f} ms a step, {_number(plan.flops / plan.seconds)}FLOP/s"


def _number(value: float) -> str:
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if value >= size), (1.0, ""))
    return f"{value / size:.2f} {prefix}"
