"""Packs texts for language models, one after the other, into rows of one length without padding."""

from collections.abc import Iterator

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, unlabelled
from jtransfer.modalities.text.forms import document, end_of_text
from jtransfer.modalities.text.tokenizers import Tokenizer

_FIELDS = {"ids": np.int32, "loss_mask": bool, "segment_start": bool}


def packed(source: Source, tokenizer: Tokenizer, length: int) -> Source:
    """Returns a source whose examples are rows of the texts of another source, one text after the other.

    An example is `{"ids": int32 [n], "loss_mask": bool [n], "segment_start": bool [n]}`: the tokens, whether they have
    a loss (those of prompts, which a `target` follows, have none), and whether a text begins there. A row has `length`
    tokens and one more, which the next row begins with, so that each token is predicted once. The last row may be
    shorter. All tokens are kept in memory, 6 bytes each.

    Args:
      source: The texts.
      tokenizer: The tokenizer; each text ends in its `eos`.
      length: The number of tokens of a row.

    Raises:
      InputError: There is only one token, or the tokenizer has no `eos`.
    """
    end = end_of_text(tokenizer)

    def texts() -> Iterator[tuple[int, bool, bool]]:
        for i in range(len(source)):
            ids, prompt = document(tokenizer, end, source[i])
            yield from ((token, place >= prompt, place == 0) for place, token in enumerate(ids))

    tokens = np.fromiter(texts(), np.dtype(list(_FIELDS.items())))
    if len(tokens) < 2:
        raise InputError("the texts hold no tokens to predict")

    def read(i: int) -> dict[str, np.ndarray]:
        row = tokens[i * length : (i + 1) * length + 1]
        return {name: row[name] for name in _FIELDS}

    return unlabelled(-(-(len(tokens) - 1) // length), read)
