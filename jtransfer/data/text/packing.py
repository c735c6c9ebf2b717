"""Texts one after the other, cut into blocks of one length: no padding, and each token learnt once."""

import numpy as np

from jtransfer.data.source import Source, unlabelled
from jtransfer.data.text.tasks import document, end_of_text
from jtransfer.data.tokenizers import Tokenizer
from jtransfer.errors import InputError


def packed(source: Source, tokenizer: Tokenizer, length: int) -> Source:
    """All texts of a source one after the other, each with `eos` at its end, in blocks of `length` tokens and one more.

    A block begins with the last token of the one before, so that each token is learnt once. Tokens are kept in memory,
    4 bytes each. The last block may be shorter.

    Raises:
      InputError: there is but one token, or the tokenizer has no `eos`.
    """
    end = end_of_text(tokenizer)
    documents = [document(tokenizer, end, source[i])[0] for i in range(len(source))]
    tokens = np.fromiter((token for ids in documents for token in ids), np.int32)
    if len(tokens) < 2:
        raise InputError("the texts hold no tokens to learn")

    def read(i: int) -> dict[str, np.ndarray]:
        return {"ids": tokens[i * length : (i + 1) * length + 1]}

    return unlabelled(-(-(len(tokens) - 1) // length), read)
