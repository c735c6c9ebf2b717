"""BERT (Devlin et al. 2018, arXiv:1810.04805), and MiniLM (Wang et al. 2020, arXiv:2002.10957), a small BERT."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Int

from jtransfer.layers.types import Array
from jtransfer.models.encoder import Embed, Encoder
from jtransfer.models.text_head import Classify


class BERT(Encoder):
    """BERT, a chain of the stages embed → layer_0 … → pool → head.

    Attributes, beside those of `Encoder`:
      segments: The number of segments that `token_type_ids` tells apart.
    """

    segments: int = 2

    usual_pooling = "pooler"

    def example_input(self, batch: int = 1) -> dict[str, Int[Array, "b n"]]:
        """Texts of 8 tokens, all zeros, with `token_type_ids` if there are several segments."""
        texts = super().example_input(batch)
        return texts | ({"token_type_ids": jnp.zeros_like(texts["input_ids"])} if self.segments > 1 else {})

    def embedding(self) -> Callable[..., nn.Module]:
        size = (self.vocab_size, self.width, self.max_length, self.segments)
        return partial(Embed, *size, self.eps, self.dropout, dtype=self.dtype)

    def classifier(self) -> Callable[..., nn.Module]:
        return partial(Classify, self.num_classes, self.last_dropout, dtype=self.dtype)


MODELS = {
    "bert_base": partial(BERT),
    "bert_base_cased": partial(BERT, vocab_size=28996),
    "bert_large": partial(BERT, width=1024, depth=24, num_heads=16, mlp_dim=4096),
    "bert_tiny": partial(BERT, width=128, depth=2, num_heads=2, mlp_dim=512),
    "minilm_l6": partial(BERT, width=384, depth=6, mlp_dim=1536),
    "minilm_l12": partial(BERT, width=384, mlp_dim=1536),
}
