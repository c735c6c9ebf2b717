"""What scores say of the weights that a use is sought for, beside the same network with random weights."""

from collections.abc import Iterator
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.ranking import features, named
from jtransfer.selection import scores
from jtransfer.tuning.setting import Setting

SHOWN = ("logme", "knn", "linear_probe")
EXAMPLES = 500  # of the training split that are looked at


def lines(made: Setting) -> Iterator[str]:
    """Yields a line for the weights' features of the training examples and one for the random network's, where the
    labels have scores and the config names the model. Nothing is trained, and no other split is looked at.

    Args:
      made: Of the choice.
    """
    kind = made.run.target.whole["train"].label_kind
    shown = [name for name in SHOWN if kind in ("class", "number", "classes") and name in scores.usual(kind)]
    config = made.run.config.copy_and_resolve_references().unlock()
    config.data.train = made.train
    told = {"the weights": config.init, "random weights": named.SCRATCH if config.model.name else ""}
    for name, source in told.items():
        if shown and source:
            yield f"features of {name}: {_scores(config, source, shown)}"


def _scores(config: Any, source: str, shown: list[str]) -> str:
    parsed = named.parse(source)
    try:
        opened = features.opened(parsed, named.reading(named.config_of(config, parsed)), EXAMPLES)
        given = {"features": features.made(opened).features, "labels": opened.examples.labels}
        return ", ".join(f"{name} {scores.compute(name, given).mean():.3f}" for name in shown)
    except InputError as error:
        return str(error)
