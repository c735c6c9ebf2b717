"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-R (Conneau et al. 2019, arXiv:1911.02116)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jtransfer.models.encoder import Embed, Encoder
from jtransfer.models.text_head import DeepClassify


class RoBERTa(Encoder):
    """RoBERTa, a chain of the stages embed → layer_0 … → pool → head.

    Positions start at pad + 1 and do not count padding, which is found in `input_ids`. So the table of positions has
    pad + 1 rows more than `max_length`, and `position_ids` start at pad + 1 as well.

    Attributes, beside those of `Encoder`:
      segments: The number of segments that `token_type_ids` tells apart.
      kind: "roberta", "xlm-roberta" or "camembert", which compute the same and differ in their tokenizers.
    """

    vocab_size: int = 50265
    eps: float = 1e-5
    pad: int = 1
    segments: int = 1
    kind: str = "roberta"

    def embedding(self) -> Callable[..., nn.Module]:
        size = (self.vocab_size, self.width, self.max_length + self.pad + 1, self.segments)
        more = {"max_length": self.max_length, "pad": self.pad, "dtype": self.dtype}
        return partial(Embed, *size, self.eps, self.dropout, **more)

    def classifier(self) -> Callable[..., nn.Module]:
        rates = (self.last_dropout, self.last_dropout)
        return partial(DeepClassify, self.num_classes, jnp.tanh, rates, dtype=self.dtype)


_XLM = {"kind": "xlm-roberta", "vocab_size": 250002}
_LARGE = {"width": 1024, "depth": 24, "num_heads": 16, "mlp_dim": 4096}

MODELS = {
    "roberta_base": partial(RoBERTa),
    "roberta_large": partial(RoBERTa, **_LARGE),
    "distilroberta_base": partial(RoBERTa, depth=6),
    "xlm_roberta_base": partial(RoBERTa, **_XLM),
    "xlm_roberta_large": partial(RoBERTa, **_XLM, **_LARGE),
}
