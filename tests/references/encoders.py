"""Stored outputs of tiny encoders of texts, as those of `decoders` in a folder of their own:

output <n>  float32 [3, …] of `inputs(n, …)`: logits; of a model without a head its last layer's [3, n, width]
pooler <n>  float32 [3, width] of a BERT without a head
"""

from pathlib import Path

import numpy as np

from references import decoders

FOLDER = Path(__file__).parent / "encoders"
LENGTHS = decoders.LENGTHS
VOCABULARY = 61


def named(case: str) -> str:
    """What `decoders` calls the case."""
    return f"../{FOLDER.name}/{case}"


def inputs(n: int, pad: int, segments: bool) -> dict[str, np.ndarray]:
    """Ids, mask and, if wanted, two segments, int32 [3, n]: a whole text, one padded on the left, one on the right."""
    ids, mask = decoders.texts(n, VOCABULARY)
    found = {"input_ids": np.where(mask, ids, pad).astype(np.int32), "attention_mask": mask}
    return found | (
        {"token_type_ids": np.tile(np.arange(n, dtype=np.int32) > n // 2, (3, 1)).astype(np.int32)} if segments else {}
    )


def cases() -> list[str]:
    """The names of all stored cases."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def write(case: str, folder: Path) -> Path:
    """As `decoders.write`."""
    return decoders.write(named(case), folder)


def load(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """As `decoders.load`."""
    return decoders.load(named(case))
