"""Zeros of the shapes of what a model is given, of models that make none themselves."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jtransfer.data import Source


def zero_inputs(transform: Callable[..., dict], source: Source) -> Any:
    """Returns zeros of the shapes and dtypes of the `inputs` of a batch with one example.

    Args:
      transform: The transform of the modality.
      source: The examples, of which the first is read.
    """
    row = transform(source[0], np.random.default_rng(0))
    collate = getattr(transform, "collate", None)
    inputs = collate([row])["inputs"] if collate else jax.tree.map(lambda x: np.asarray(x)[None], row["inputs"])
    return jax.tree.map(np.zeros_like, inputs)


def zero_sample(preprocess: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns zeros of the shapes and dtypes of the model's input.

    Args:
      preprocess: The function that makes the model's input.
      inputs: The `inputs` of a batch.
    """
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(preprocess, inputs))
