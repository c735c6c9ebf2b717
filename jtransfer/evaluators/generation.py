"""Evaluates how similar the texts that a model generates are to the targets: BLEU and chrF."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jtransfer import data, generate, metrics
from jtransfer.core.errors import InputError
from jtransfer.evaluators.base import Context, Evaluate
from jtransfer.evaluators.gather import gather


def make(context: Context, split: str) -> Evaluate:
    """Returns an evaluator that generates a text for some examples of a split and compares it with the target.

    It takes `config.generate.num_examples` examples, evenly spread over the split, and yields BLEU and chrF. The texts,
    the targets (`target`) and the generated texts (`written`) are saved as predictions.

    Args:
      context: What evaluators know of the run.
      split: A split expression of `config.data`.

    Raises:
      InputError: The examples of the task have no targets, or a setting of the generation is wrong.
    """
    modality, config = context.modality, context.config
    if context.task.generates != "targets":
        raise InputError(f"evals: 'generation' needs a task with targets; this is task={context.task.name!r}")
    how = modality.writing(context.task, context.model, config.generate.fields.to_dict())
    key = jax.random.key(config.seed)

    def step(variables: Mapping, batch: Mapping) -> dict[str, jax.Array]:
        given = {name: batch["inputs"][name] for name in ("input_ids", "attention_mask")}
        generated = generate.compiled(context.model, variables, given, how.settings, key)
        return {"tokens": generated.tokens, "lengths": generated.lengths}

    def evaluate(variables: Mapping[str, Any]) -> Iterator[tuple[str, float | np.ndarray]]:
        source = data.subsample(context.source(split), config.generate.num_examples)
        table = gather(step, variables, context.batches(source))
        examples = [source[i] for i in table["index"].tolist()]
        written = how.decoded(table["tokens"], table["lengths"])
        targets = np.array([example["target"] for example in examples])
        yield from metrics.translation(written.tolist(), targets.tolist())
        yield "text", np.array([modality.show(example)["text"] for example in examples])
        yield "target", targets
        yield "written", written

    return evaluate
