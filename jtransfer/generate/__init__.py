"""Generates text with language models: greedily, by drawing tokens or by beam search, as one compiled program.

    settings = generate.read(folder, encoder_decoder=False, max_new_tokens=40)
    texts = generate.generate(model, variables, {"input_ids": ids, "attention_mask": mask}, settings)

`stream` is continuous batching, for many prompts whose texts differ in length.

`search` is the pure function beneath, which can be compiled as a part of something else. `compiled` is that function
jitted, for inputs that are known to be right and are padded already.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core import sharding
from jtransfer.generate.buckets import bucket, padded
from jtransfer.generate.checks import PREFIXES, check, of_decoder
from jtransfer.generate.continuous import stream
from jtransfer.generate.generation_config import from_config, read
from jtransfer.generate.searches import Generated, search
from jtransfer.generate.settings import Settings, upgrade_fields
from jtransfer.layers.types import Array

__all__ = [
    "Generated",
    "Settings",
    "bucket",
    "compiled",
    "from_config",
    "generate",
    "read",
    "search",
    "stream",
    "upgrade_fields",
]


def generate(
    model: Any,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Array],
    settings: Settings,
    key: jax.Array | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Generated:
    """Generates a text for each row of the input, after checking the input and padding it.

    It is compiled once for each model, settings and `bucket` of lengths. The compiled program knows nothing of Flax
    interceptors around the call; under them, compile `search` instead.

    Args:
      model: A chain whose head gives logits of tokens.
      variables: The variables of the model.
      inputs: What the model takes, see `search`.
      settings: How text is generated.
      key: The random key, which is needed if `settings.do_sample`.
      mesh: The devices that share the texts, whose number must be a multiple of theirs; `variables` are on them. By
        default all is done on one device.

    Raises:
      InputError: The model is no language model, a text has no tokens or is too long for the model, tokens are outside
        of its vocabulary, or the key is missing.
    """
    inputs = {name: np.asarray(array) for name, array in inputs.items()}
    check(model, inputs, settings, key)
    limit, ours = getattr(model, "max_length", None), of_decoder(model)
    for prefix in PREFIXES:
        room = limit and (limit - settings.max_new_tokens if prefix == ours else limit)
        inputs = padded(inputs, prefix, room)
    shared = inputs if mesh is None else sharding.put_batch(inputs, mesh)
    return compiled(model, variables, shared, settings, key)


compiled = jax.jit(search, static_argnums=(0, 3))
