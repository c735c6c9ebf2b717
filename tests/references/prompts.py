"""Stored outputs of tiny models of `decoders` and `encoders` with prompts and prefixes of Hugging Face's PEFT.

`prompts.npz` has "<method> <case>", logits float32 [3, …].
"""

import functools
from pathlib import Path

import numpy as np

from references import decoders, encoders, fill

FILE = Path(__file__).parent / "adapters" / "prompts.npz"
LENGTH = 3


@functools.cache
def load() -> dict[str, np.ndarray]:
    """All arrays."""
    with np.load(FILE) as file:
        return dict(file)


def named(case: str) -> str:
    """What `decoders` calls a case of either."""
    return case if (decoders.FOLDER / f"{case}.npz").exists() else encoders.named(case)


def inputs(case: str) -> dict[str, np.ndarray]:
    """The texts, int32: of decoders, those of `decoders`; else those of `encoders`."""
    if case.startswith(("bert", "roberta")):
        return encoders.inputs(7, int(case.startswith("roberta")), case.startswith("bert"))
    ids, mask = decoders.texts(7, 61)
    more = {"decoder_input_ids": decoders.texts(5, 61)[0]} if case in ("t5", "bart") else {}
    return {"input_ids": ids, "attention_mask": mask, **more}


def vectors(width: int) -> np.ndarray:
    """What the prompt encoder holds, float32 [LENGTH, width]."""
    return fill("prompts", (LENGTH, width)) * np.float32(LENGTH**0.5)
