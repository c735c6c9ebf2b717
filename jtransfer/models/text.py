"""The input of models of text, and what passes between their stages."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Bool, Int

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array

Inputs = dict[str, Any]
"""What a model of text takes: int arrays by the names that Hugging Face's transformers gives them."""

Stream = dict[str, Any]
"""What passes between two stages: "x" [batch, n, width] and "mask" bool [batch, 1, 1, n], False where there is
padding, and what else a family needs."""


def example_input(batch: int, length: int = 8) -> dict[str, Int[Array, "b n"]]:
    """Texts of zeros, int32 [batch, length]: the input of an encoder."""
    return {name: jnp.zeros((batch, length), jnp.int32) for name in ("input_ids", "attention_mask")}


def check(inputs: Inputs, known: tuple[str, ...]) -> None:
    """Checks the names of the inputs of a model.

    Args:
      inputs: What the model was given.
      known: The names of all inputs that the model takes.

    Raises:
      InputError: There is an input that the model does not take, or no `input_ids`.
    """
    strange = sorted(set(inputs) - set(known) - {"lengths", "decoder_lengths"})
    if strange or "input_ids" not in inputs:
        has = f"there is {strange[0]!r}" if strange else "there is none"
        others = ", ".join(name for name in known if name != "input_ids")
        raise InputError(f"the model's inputs are input_ids, and if wanted {others}; {has}")


def mask_of(inputs: Inputs, prefix: str = "") -> Bool[Array, "b 1 q m"]:
    """The attention mask of texts, True where a key may be attended to.

    Args:
      inputs: Texts. Without `attention_mask`, all their tokens may be attended to. A mask [batch, n, m] says for each
        query which keys may be; one of [batch, m] says it for all queries.
      prefix: Of the names of the inputs, such as "decoder_".

    Returns:
      A mask for attention, [batch, 1, 1, m] or [batch, 1, n, m].
    """
    mask = inputs.get(f"{prefix}attention_mask")
    mask = jnp.ones(inputs[f"{prefix}input_ids"].shape, bool) if mask is None else jnp.asarray(mask).astype(bool)
    return mask[:, None, None] if mask.ndim == 2 else mask[:, None]


def padding_of(inputs: Inputs, prefix: str = "") -> Stream:
    """What says where padding is, for what passes between stages: "mask", and "lengths" where they say the same as the
    mask: the numbers of tokens before the padding, int32 [batch], where the inputs have them, and None where nothing is
    padding, because the inputs have neither lengths nor a mask. Arguments as for `mask_of`."""
    lengths = inputs.get(f"{prefix}lengths")
    told = lengths is not None or inputs.get(f"{prefix}attention_mask") is None
    return {"mask": mask_of(inputs, prefix), **({"lengths": lengths} if told else {})}


def positions_of(inputs: Inputs, prefix: str = "") -> Int[Array, "#b n"]:
    """The positions of the tokens of texts: `position_ids`, or else 0, 1, …. Arguments as for `mask_of`."""
    positions = inputs.get(f"{prefix}position_ids")
    return jnp.arange(inputs[f"{prefix}input_ids"].shape[1])[None] if positions is None else positions
