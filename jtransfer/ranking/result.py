"""What a ranking of sources has found."""

import dataclasses
from typing import Any

from jtransfer.ranking.check import Checked
from jtransfer.ranking.features import Made
from jtransfer.ranking.marks import Marks
from jtransfer.ranking.table import Table


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Sources in the order of their mean rank, the best first.

    Attributes:
      protocol: What the numbers are, in words.
      order: Source → its mean rank over the scores that all sources have.
      scores: Source → score → cell (`value`, `low`, `high`, `rank`), or None where it has none.
      made: Source → what it makes of the examples, and what it is.
      marks: Source → what it may have learned of the target already.
      checked: What fine-tuning gave; None where it wasn't asked for.
    """

    protocol: str
    order: dict[str, float]
    scores: Table
    made: dict[str, Made]
    marks: dict[str, Marks]
    checked: Checked | None = None


def plain(ranking: Ranking) -> dict[str, Any]:
    """Returns a ranking as `rank.json` holds it, without the features."""
    rows = {}
    for source, mean_rank in ranking.order.items():
        made, mark = ranking.made[source], ranking.marks[source]
        rows[source] = {
            "mean_rank": mean_rank,
            "scores": {name: cell and cell._asdict() for name, cell in ranking.scores[source].items()},
            "model": made.model,
            "features": made.features.shape[1],
            "parameters": made.parameters,
            "bytes": made.bytes,
            "seconds": made.seconds,
            "without_predictions": made.why,
            "classes_in_common": mark.classes,
            "examples_in_common": mark.common,
            "data": mark.data,
        }
    return {"protocol": ranking.protocol, "sources": rows, "check": ranking.checked and ranking.checked._asdict()}
