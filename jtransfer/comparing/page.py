"""The page of a comparison: one file that needs no other."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from jtransfer.comparing import figure, words
from jtransfer.comparing.flips import GAINED, Flip
from jtransfer.comparing.words import Found
from jtransfer.core import pages
from jtransfer.modalities import Modality
from jtransfer.reporting import drawing
from jtransfer.reporting.pictures import data_uri

SHOWN = 12  # flips of each setting


def render(found: Found, modality: Modality) -> str:
    """Returns the page.

    Args:
      found: What the comparison has found.
      modality: Of the examples.
    """
    metric, plan = found.metric, found.plan
    return (
        pages.environment(Path(__file__).parent)
        .get_template("page.html.jinja")
        .render(
            title=Path(plan.folder).resolve().name,
            metric=metric.title,
            baseline=plan.variations[0].name,
            has_labels=bool(plan.labels),
            rows=found.rows,
            winner=found.tested,
            value=lambda number: words.written(number, metric),
            signed=lambda number: words.signed(number, metric),
            p_text=words.p_text,
            protocol=words.protocol(plan),
            tests=list(dict.fromkeys(row.test for row in found.rows if row.test)),
            test_line=words.test_line(found),
            savings=[(one, words.saving_line(found, one)) for one in found.savings],
            plot=Markup(drawing.svg(figure.draw(found.rows, metric), f"{metric.title} of each setting")),
            flips=_flips(found, modality),
            changed=[(one.name, one.changes) for one in plan.variations],
        )
    )


def _flips(found: Found, modality: Modality) -> list[dict[str, Any]]:
    """The first flips of each setting with the most labels, with their pictures."""
    most, made = max(row.labels for row in found.rows), []
    for name in dict.fromkeys(flip.name for flip in found.flips):
        own = [flip for flip in found.flips if flip.name == name and flip.labels == most]
        for what in dict.fromkeys(flip.what for flip in own):
            some = [flip for flip in own if flip.what == what]
            head = "right, and wrong with the baseline" if what == GAINED else "wrong, and right with the baseline"
            shown = [{**flip._asdict(), "picture": _picture(found, modality, flip)} for flip in some[:SHOWN]]
            made.append({"name": name, "head": head, "count": len(some), "shown": shown})
    return made


def _picture(found: Found, modality: Modality, flip: Flip) -> str | None:
    picture = modality.show(found.held.whole[flip.index]).get("picture") if not flip.text else None
    return None if picture is None else data_uri(picture)
