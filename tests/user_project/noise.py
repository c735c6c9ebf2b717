"""An evaluator: how often the sign is still right when noise is added."""

import jax
import numpy as np

from jtransfer.models import forward


def make(context, split, *, strength=0.5):
    """An evaluator with the field `strength`."""
    preprocess = context.modality.make_preprocess(context.model, train=False)

    @jax.jit
    def logits(variables, inputs):
        return forward.apply(context.model, variables, preprocess(inputs))[0][:, 0]

    def evaluate(variables):
        right, key = [], jax.random.key(0)
        for batch in context.batches(context.source(split)):
            noisy = batch["inputs"] + strength * jax.random.normal(key, batch["inputs"].shape)
            right.append(np.asarray((logits(variables, noisy) > 0) == batch["label"])[np.asarray(batch["mask"])])
        yield "noisy_accuracy", np.concatenate(right).mean()

    return evaluate
