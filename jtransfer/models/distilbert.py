"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108), a BERT with half of the layers and without segments."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jtransfer.models.encoder import Embed, Encoder
from jtransfer.models.text_head import DeepClassify


class DistilBERT(Encoder):
    """DistilBERT, a chain of the stages embed → layer_0 … → pool → head. The fields are those of `Encoder`."""

    depth: int = 6

    def embedding(self) -> Callable[..., nn.Module]:
        size = (self.vocab_size, self.width, self.max_length, 0)
        return partial(Embed, *size, self.eps, self.dropout, dtype=self.dtype)

    def classifier(self) -> Callable[..., nn.Module]:
        rate = 0.2 if self.head_dropout is None else self.head_dropout
        return partial(DeepClassify, self.num_classes, nn.relu, (0.0, rate), dtype=self.dtype)


MODELS = {
    "distilbert_base": partial(DistilBERT),
    "distilbert_base_cased": partial(DistilBERT, vocab_size=28996),
    "distilbert_base_multilingual_cased": partial(DistilBERT, vocab_size=119547),
}
