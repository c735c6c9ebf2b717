"""Stored logits and inputs of tiny encoder–decoders, as those of `decoders` in a folder of their own:

logits <n>  float32 [3, k, vocabulary] of `inputs(n, k)`; of an encoder alone its outputs [3, n, width]
"""

from pathlib import Path

import numpy as np

from references import decoders

FOLDER = decoders.FOLDER / "seq2seq"
LENGTHS = ((7, 5), (12, 14))  # of the encoder's texts, of the decoder's
VOCABULARY = 61


def named(case: str) -> str:
    """What `decoders` calls the case."""
    return f"{FOLDER.name}/{case}"


def inputs(n: int, k: int, vocabulary: int = VOCABULARY) -> dict[str, np.ndarray]:
    """Ids and masks int32 [3, n] and [3, k]: whole texts, texts padded on the left, texts padded on the right."""
    ids, mask = decoders.texts(n, vocabulary)
    decoder_ids, decoder_mask = decoders.texts(k, vocabulary)
    names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
    return dict(zip(names, (ids, mask, decoder_ids, decoder_mask), strict=True))


def cases() -> list[str]:
    """The names of all stored cases with a decoder."""
    return sorted(path.stem for path in FOLDER.glob("*.npz") if not path.stem.endswith("_encoder"))


def write(case: str, folder: Path) -> Path:
    """As `decoders.write`."""
    return decoders.write(named(case), folder)


def load(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """As `decoders.load`."""
    return decoders.load(named(case))
