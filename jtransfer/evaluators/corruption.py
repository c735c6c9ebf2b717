"""Evaluates a model on corrupted examples, at five severities."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import data
from jtransfer.core.errors import InputError, unknown
from jtransfer.data import Source
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.modalities import Modality

NAME = "corruption"
SEVERITIES = (1, 2, 3, 4, 5)


def make(
    context: Context,
    split: str,
    *,
    only: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    most: int = 1000,
    seed: int = 0,
) -> Evaluate:
    """Makes an evaluator of the task's own metric on corrupted examples.

    Of each corruption and severity it yields `corrupted/<metric>/<corruption>/<severity>`, and `corrupted/<metric>`,
    the mean of all of these; `corrupted/<metric>/none/0` is of the same examples as they are. The modality has the
    corruptions: noise, blur, JPEG and contrast of images; typos, case and deletions of texts; noise and
    missing numbers of vectors. What happens to an example depends on its number and the seed alone.

    Args:
      context: What is known of the run.
      split: The split to evaluate on.
      only: Names of corruptions; by default all that the modality has.
      severities: From 1 to 5.
      most: How many examples are looked at, evenly spread over the split.
      seed: Of what is drawn.

    Raises:
      InputError: There is no such corruption or severity, or the task has no labels for single examples.
    """
    known, modality = context.modality.corruptions, context.modality
    if not known or not context.task.label_kinds:
        raise InputError(f"evals: {NAME!r} is not for {modality.nouns[1]} of task={context.task.name!r}")
    for name in only:
        if name not in known:
            raise unknown(f"corruption of {modality.nouns[1]}:", name, known)
    if not severities or set(severities) - set(SEVERITIES) or most < 1:
        raise InputError(f"evals: {NAME!r} needs severities from 1 to 5 and most=1 or more examples")
    chosen = tuple(only) or known

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        source = context.source(split)
        source = source if len(source) <= most else data.subsample(source, most)
        metric, values = context.task.metric, []

        def scored(examples: Source) -> float:
            return dict(context.task.score(context.of_source(variables, examples), context.class_names))[metric]

        yield f"corrupted/{metric}/none/0", scored(source)
        for how in chosen:
            for severity in severities:
                values.append(scored(corrupted(source, modality, how, severity, seed)))
                yield f"corrupted/{metric}/{how}/{severity}", values[-1]
        yield f"corrupted/{metric}", float(np.mean(values))

    return evaluate


def corrupted(source: Source, modality: Modality, how: str, severity: int, seed: int = 0) -> Source:
    """Returns a source whose examples are corrupted.

    Args:
      source: The examples.
      modality: Of the examples.
      how: One of `Modality.corruptions`.
      severity: From 1 to 5.
      seed: With an example's number, of what is drawn.
    """

    def read(index: int) -> dict:
        return modality.corrupt(source.read(index), how, severity, np.random.default_rng((seed, severity, index)))

    return dataclasses.replace(source, read=read, fingerprint=None)
