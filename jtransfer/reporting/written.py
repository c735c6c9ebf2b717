"""How a report writes numbers: metrics, counts, sizes and times; a dash where there is none."""

from jtransfer.core.text_table import format_bytes
from jtransfer.metrics import NUMBER, PERCENT, SCORE, SHARE, Metric


def cell(metric: Metric, value: float | None, before: float | None) -> dict:
    """A metric as it is written, with its change from a value before and whether that is for the better."""
    return cell_of(metric.kind, metric.less_is_better, value, before)


def cell_of(kind: str, less_is_better: bool, value: float | None, before: float | None) -> dict:
    """The same by the kind of a metric and its direction."""
    change = difference(value, before)
    factor = 100 if kind in (SHARE, SCORE) else 1
    better = None
    if change is not None and abs(change) * factor >= 0.05:
        better = (change < 0) == less_is_better
    return {
        "text": metric_text(value, kind),
        "change": None if change is None else signed(change * factor, 2 if kind == NUMBER else 1),
        "unit": " points" if factor == 100 else "",
        "better": better,
    }


def metric_text(value: float | None, kind: str) -> str:
    """A metric's value, as its kind is written."""
    if value is None:
        return "–"
    return {SHARE: f"{100 * value:.1f}\u202f%", PERCENT: f"{value:.1f}"}.get(kind, f"{value:.3f}")


def count(number: float | None) -> str:
    """`12 810`."""
    return "–" if number is None else f"{number:,.0f}".replace(",", "\u202f")


def megabytes(number: float | None) -> str:
    """A number of MiB, in the largest unit that it fills."""
    return bytes(None if number is None else number * 2**20)


def bytes(number: float | None) -> str:
    """A number of bytes, in the largest unit that it fills."""
    return "–" if number is None else format_bytes(number)


def seconds(number: float | None) -> str:
    """`2 h 05 min`, `1 min 09 s` or `4.2 s`."""
    if number is None:
        return "–"
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def signed(change: float, decimals: int = 1) -> str:
    """`+1.7`."""
    return f"{change:+.{decimals}f}".replace("-", "\u2212")


def difference(new: float | None, old: float | None) -> float | None:
    """The new value less the old one; None where one is not there."""
    return None if new is None or old is None else new - old


FILTERS = {"count": count, "megabytes": megabytes, "bytes": bytes, "seconds": seconds, "metric": metric_text}
"""Name → function, for the templates."""
