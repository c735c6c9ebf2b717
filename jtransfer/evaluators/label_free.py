"""Evaluates scores of a model for the target that look at no label of the target."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import data, metrics
from jtransfer.core.errors import InputError, unknown
from jtransfer.evaluators.base import Context, Evaluate, Stream
from jtransfer.metrics import adaptation

Table = Mapping[str, Any]
OF_PREDICTIONS: dict[str, Callable[[np.ndarray], float]] = {
    "entropy": adaptation.mean_entropy,
    "infomax": adaptation.infomax,
    "bnm": adaptation.nuclear_norm,
    "snd": adaptation.soft_neighborhood_density,
}
OF_RISKS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "iwv": adaptation.weighted_risk,
    "dev": adaptation.deep_embedded_validation,
}
SOURCE = "source"
SCORES = (SOURCE, *OF_PREDICTIONS, *OF_RISKS)
"""What `config.model_selection` may name."""


def make(
    context: Context,
    split: str,
    *,
    scores: Sequence[str] = tuple(OF_PREDICTIONS),
    at: str = "",
    most: int = 2000,
) -> Evaluate:
    """Makes an evaluator of scores by which a model for the target can be chosen without a label of the target.

    `entropy`, `infomax`, `bnm` and `snd` are of the predictions for the target's split. `source` is the metric of the
    task on the validation splits of the labelled streams of this task, the mean over these, as `source/accuracy`. `iwv`
    and `dev` are risks on those splits, weighted to be the target's: the weights are told by a logistic regression on
    features of the source's and of the target's training examples. See `metrics.adaptation` for each.

    Args:
      context: What is known of the run.
      split: Of the target; its labels are not looked at.
      scores: Which of them.
      at: The stage whose features `iwv` and `dev` weigh; "" is the one before the head.
      most: How many examples of the target's split, and of a split to train on, are looked at, evenly spread over it.

    Raises:
      InputError: There is no such score, or the run lacks what it needs.
    """
    for name in scores:
        if name not in SCORES:
            raise unknown("score without labels of the target", name, SCORES)
    if not context.streams:
        raise InputError("evals: 'label_free' needs a run in training, whose streams it looks at")
    target, *others = context.streams.values()
    asked = {name: table for name in scores if (table := OF_RISKS.get(name))}
    sources = [one for one in others if one.labelled and one.validated and one.task.name == target.task.name]
    if (asked or SOURCE in scores) and not sources:
        raise InputError(
            f"model selection by {', '.join(scores)} needs a labelled stream of the target's task that has a "
            "validation split, as config.streams.source.data.validation = 'train[90%:]'"
        )
    if asked:
        adaptation.logistic_regression()  # or a line that says what to install
    if set(scores) & set(OF_PREDICTIONS) and "class" not in target.task.label_kinds:
        raise InputError(f"{', '.join(scores)} need a task with classes; this is task={target.task.name!r}")

    def few(stream: Stream, split: str) -> Any:
        source = stream.source(split)
        return source if len(source) <= most else data.subsample(source, most)

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        held = [stream.seen(variables, stream.source("validation"), at if asked else None) for stream in sources]
        if set(scores) & set(OF_PREDICTIONS):
            probs = metrics.softmax(target.seen(variables, few(target, split), None)["logits"])
            yield from ((name, OF_PREDICTIONS[name](probs)) for name in scores if name in OF_PREDICTIONS)
        if SOURCE in scores:
            yield from _of_sources(context, sources, held)
        if asked:
            losses = [stream.loss(one["logits"], one["label"]) for stream, one in zip(sources, held, strict=True)]
            known = [stream.seen(variables, few(stream, "train"), at)["features"] for stream in sources]
            aimed = target.seen(variables, few(target, "train"), at)["features"]
            of = np.concatenate([one["features"] for one in held])
            weights = adaptation.density_ratios(np.concatenate(known), aimed, of)
            yield from ((name, score(np.concatenate(losses), weights)) for name, score in asked.items())

    return evaluate


def _of_sources(context: Context, sources: Sequence[Stream], held: Sequence[Table]) -> Iterator[tuple[str, float]]:
    """The means over the sources of the metrics that all of them have."""
    each = []
    for stream, seen in zip(sources, held, strict=True):
        kept = stream.task.keep(seen["logits"], seen["label"])
        table = {name: np.asarray(array) for name, array in kept.items()} | {"index": seen["index"]}
        each.append(dict(stream.task.score(table, stream.source("validation").class_names)))
    for name in each[0]:
        if all(name in one for one in each):
            yield f"{SOURCE}/{name}", float(np.mean([one[name] for one in each]))
