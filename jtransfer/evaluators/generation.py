"""Evaluates how similar the texts that a model generates are to the targets: BLEU and chrF."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer import data, metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.evaluators.gather import gather
from jtransfer.modalities.text import writing
from jtransfer.modalities.text.modality import Text


def make(context: Context, split: str) -> Evaluate:
    """An evaluator of BLEU and chrF of `config.generate.num_examples` texts of a split, evenly spread over it.

    It keeps the texts, those wanted (`target`) and those generated (`written`).

    Raises:
      InputError: the examples are no texts with targets, or a setting of generation is wrong.
    """
    modality, config = context.modality, context.config
    if not isinstance(modality, Text) or context.task.writes != "targets":
        raise InputError(f"evals: 'generation' needs texts and a task with targets; this is task={context.task.name!r}")
    how = writing.settings(modality, context.model, config.generate.fields.to_dict())
    step = writing.make_step(context.model, how, config.seed)

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float | np.ndarray]]:
        source = data.subsample(context.source(split), config.generate.num_examples)
        table = gather(step, variables, context.batches(source))
        examples = [source[i] for i in table["index"].tolist()]
        written = writing.decoded(modality, table["tokens"], table["lengths"])
        targets = np.array([example["target"] for example in examples])
        yield from metrics.translation(written.tolist(), targets.tolist())
        yield "text", np.array([example["text"] for example in examples])
        yield "target", targets
        yield "written", written

    return evaluate
