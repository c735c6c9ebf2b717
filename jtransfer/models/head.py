"""Stages that end models: pooling, classifiers and embeddings."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.core.errors import InputError
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType


class GlobalPool(nn.Module):
    """The mean of a feature map over height and width."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        return layers.global_avg_pool(x)


class Head(nn.Module):
    """A classifier: dropout and one dense layer, "dense". Its logits are float32 whatever the computation's dtype.

    Attributes:
      num_classes: The number of logits.
      dropout: The rate in training.
      dtype: The dtype of the computation.
    """

    num_classes: int
    dropout: float = 0.0
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b k"]:
        x = Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x).astype(jnp.float32)


class Embedding(nn.Module):
    """Ends a model with its features, one vector for each example, float32. It has no parameters.

    Attributes:
      normalize: Whether the vectors are divided by their length.

    Raises:
      InputError: The stage before it gives something else than one vector for each example.
    """

    normalize: bool = True

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Float[Array, "b d"]:
        if getattr(x, "ndim", None) != 2:
            raise InputError("head='embed' needs a model that makes one vector of each input before its head")
        return layers.l2_normalize(x) if self.normalize else x.astype(jnp.float32)
