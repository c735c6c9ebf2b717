"""The page of a ranking, and its lines for the terminal."""

from collections.abc import Iterator
from pathlib import Path

from jtransfer import metrics
from jtransfer.core import pages
from jtransfer.core.text_table import format_bytes, lay_out
from jtransfer.ranking.result import Ranking
from jtransfer.ranking.table import Cell


def render(ranking: Ranking) -> str:
    """Returns a ranking as a page of HTML that needs no other file."""
    environment = pages.environment(Path(__file__).parent, bytes=format_bytes, score=_score)
    return environment.get_template("rank.html.jinja").render(
        ranking=ranking,
        names=list(next(iter(ranking.scores.values()))),
        metric=metrics.get(ranking.checked.metric).title if ranking.checked else "",
        missing=_missing(ranking),
    )


def lines(ranking: Ranking) -> Iterator[str]:
    """Yields the lines that tell a ranking in a terminal."""
    names = list(next(iter(ranking.scores.values())))
    yield ranking.protocol
    rows = [["source", "mean rank", *names, "seconds", "weights"]]
    for source, mean in ranking.order.items():
        made, cells = ranking.made[source], ranking.scores[source]
        rows.append([source, f"{mean:.2f}", *(_short(cells[name]) for name in names)])
        rows[-1] += [f"{made.seconds:.1f}", format_bytes(made.bytes)]
    yield from lay_out(rows, "<" + ">" * (len(rows[0]) - 1))
    yield "  (score ± half of the interval, #rank; mean rank: over the scores that all sources have)"
    for source, mark in ranking.marks.items():
        yield from (f"{source}: {line}" for line in mark.lines)
    for source, why in _missing(ranking).items():
        yield f"{source} has no predictions to score: {why}"
    if ranking.checked:
        yield from _checked(ranking)


def _checked(ranking: Ranking) -> Iterator[str]:
    assert ranking.checked is not None
    metric, results, taus = ranking.checked
    title = metrics.get(metric).title
    yield f"fine-tuned, test {title}: " + ", ".join(f"{source} {value:.4f}" for source, value in results.items())
    shown = (f"{name} {_score(value)}" for name, value in taus.items())
    yield f"Kendall's weighted τ between score and test {title}, of {len(results)} sources: {', '.join(shown)}"


def _missing(ranking: Ranking) -> dict[str, str]:
    """Source → why it has no predictions, of those that lack a score for it."""
    return {
        source: one.why for source, one in ranking.made.items() if one.why and None in ranking.scores[source].values()
    }


def _short(cell: Cell | None) -> str:
    return "–" if cell is None else f"{_score(cell.value)} ± {_score((cell.high - cell.low) / 2)} #{cell.rank}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
