"""Stored logits and texts of tiny language models, one file `decoders/<case>.npz` each:

spec                 JSON: config.json, gain of the filling rule, names → shapes, kind of run → generation config
logits <length>      float32 [3, length, vocabulary] of `texts`; [3, classes] of a classifier
tokens, scores <run> int32 [3, new tokens], float32 [3] of `prompts`
"""

import json
from pathlib import Path

import numpy as np

from references import fill

FOLDER = Path(__file__).parent / "decoders"
LENGTHS = (7, 12)


def texts(length: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask int32 [3, length]: a whole text, one with padding (0) on the left, one with it on the right."""
    ids = np.random.Generator(np.random.Philox(key=length)).integers(1, vocabulary, (3, length), np.int32)
    mask = np.ones_like(ids)
    mask[1, :3], mask[2, -2:] = 0, 0
    return ids * mask, mask


def prompts(vocabulary: int, pad: int, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask int32 [3, 9] of what is generated from, the second padded on the left or on the right."""
    ids = np.random.Generator(np.random.Philox(key=9)).integers(2, vocabulary - 1, (3, 9), np.int32)
    mask = np.ones_like(ids)
    mask[1, slice(None, 4) if left else slice(-4, None)] = 0
    return np.where(mask, ids, pad).astype(np.int32), mask


def load(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The spec and the arrays of a case."""
    with np.load(FOLDER / f"{case}.npz") as file:
        arrays = dict(file)
    return json.loads(arrays.pop("spec").tobytes()), arrays


def store(case: str, spec: dict, arrays: dict[str, np.ndarray]) -> None:
    """Writes what `load` reads."""
    FOLDER.mkdir(exist_ok=True)
    packed = np.frombuffer(json.dumps(spec).encode(), np.uint8)
    np.savez_compressed(FOLDER / f"{case}.npz", spec=packed, **arrays)


def write(case: str, folder: Path, dtype: str = "float32") -> Path:
    """A folder with config.json and model.safetensors, as `save_pretrained` leaves it."""
    from safetensors.numpy import save_file

    spec, _ = load(case)
    (folder / "config.json").write_text(json.dumps(spec["config"]))
    tensors = {name: fill(name, tuple(shape), spec["gain"]) for name, shape in spec["shapes"].items()}
    save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder
