"""What models of text have in common: their input, what passes between their stages, and the heads of encoders."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jtransfer.errors import InputError

Stream = dict[str, Any]
"""Between stages: "x" [b, n, d] and "mask" bool [b, 1, 1, n], False where there is padding."""


def example_input(batch: int, length: int = 8) -> dict[str, Int[Array, "b n"]]:
    """Zeros of the shapes and dtypes of an encoder's input."""
    return {name: jnp.zeros((batch, length), jnp.int32) for name in ("input_ids", "attention_mask")}


def check(inputs: dict[str, Array], known: tuple[str, ...]) -> None:
    """Nothing, if the inputs are some of `known`, `input_ids` among them.

    Raises:
      InputError: an input that the model does not know, or no `input_ids`.
    """
    strange = sorted(set(inputs) - set(known))
    if strange or "input_ids" not in inputs:
        has = f"there is {strange[0]!r}" if strange else "there is none"
        others = ", ".join(name for name in known if name != "input_ids")
        raise InputError(f"the model's inputs are input_ids, and if wanted {others}; {has}")


def mask_of(inputs: dict[str, Array], prefix: str = "") -> Bool[Array, "b 1 1 m"]:
    """What may be looked at, for attention: `attention_mask`, by default all of `input_ids`."""
    mask = inputs.get(f"{prefix}attention_mask")
    mask = jnp.ones(inputs[f"{prefix}input_ids"].shape, bool) if mask is None else jnp.asarray(mask).astype(bool)
    return mask[:, None, None]


def positions_of(inputs: dict[str, Array], prefix: str = "") -> Int[Array, "#b n"]:
    """`position_ids`, by default 0, 1, …."""
    positions = inputs.get(f"{prefix}position_ids")
    return jnp.arange(inputs[f"{prefix}input_ids"].shape[1])[None] if positions is None else positions


class Pool(nn.Module):
    """What stands for the text.

    Attributes:
      kind: "token", what stands at the first token; "pooler", the same through a dense layer with tanh; "mean" of all
        tokens that are no padding; or "tokens", each of them, [b, n, d].
    """

    kind: str
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b *n d"]:
        x = stream["x"]
        if self.kind == "tokens":
            return x
        if self.kind == "mean":
            return masked_mean(x, stream["mask"][:, 0, 0])
        if self.kind == "token":
            return x[:, 0]
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return jnp.tanh(dense(x[:, 0]))


def masked_mean(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The mean over the places where `mask` holds, in float32; zeros where it holds nowhere."""
    weights = mask.astype(jnp.float32)[..., None]
    total = (x.astype(jnp.float32) * weights).sum(axis=1)
    return (total / jnp.maximum(weights.sum(axis=1), 1.0)).astype(x.dtype)


class Classify(nn.Module):
    """Dropout and one dense layer: the logits of a text, or of each token, float32."""

    num_classes: int
    dropout: float = 0.0
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *n d"], *, train: bool = False) -> Float[Array, "b *n k"]:
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        dense = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return dense(x).astype(jnp.float32)


class Normalize(nn.Module):
    """A text's embedding, float32, of length 1."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b d"]:
        x = x.astype(jnp.float32)
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class MaskedLM(nn.Module):
    """The logits of the token at each place, float32: a dense layer with an activation and a norm, and the products
    with the token embeddings, plus `bias` [vocabulary].

    Attributes:
      embed: the stage whose `tokens` are the embeddings.
    """

    embed: nn.Module
    epsilon: float
    activation: Callable
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n v"]:
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        x = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(self.activation(dense(x)))
        logits = self.embed.tokens.attend(x).astype(jnp.float32)
        return logits + self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
