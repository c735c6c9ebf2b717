"""Stored logits of other libraries' models, and the rule that fills the weights that gave them.

A reference of a model is one file `<case>.npz`, written by `make_references.py`:

    spec    JSON: model and fields (ours), size of the input in pixels, gain of the filling rule, names → shapes
    logits  float32 [2, 10]; [2, 2] for images and texts

The rule needs numpy alone, so that the tests do without the libraries.
"""

import dataclasses
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

FOLDER = Path(__file__).parent
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Filled:
    """A tensor that is drawn by the rule when it is read."""

    name: str
    shape: tuple[int, ...]
    gain: float
    dtype: ClassVar = np.dtype(np.float32)

    def read(self) -> np.ndarray:
        return fill(self.name, self.shape, self.gain)


@dataclasses.dataclass(frozen=True)
class Reference:
    """One stored case: our model's name and fields, its input, the tensors, the logits."""

    case: str
    model: str
    fields: dict
    size: int
    tensors: dict[str, Filled]
    logits: np.ndarray

    @property
    def inputs(self) -> Any:
        """What the model takes."""
        return inputs(self.model, self.fields, self.size)


def fill(name: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """The values of the tensor called `name`, float32: a function of its name, its shape and the gain.

    Kernels are normal with variance 2 / fan-in; scales of norms are uniform in gain · [0.5, 1]; running variances in
    [0.5, 1.5]; every other vector is normal with deviation 0.1. Tensors of all layers at once are as those of one.
    """
    random = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    leaf = re.split(r"[./]", name)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.float32)
    if leaf == "running_var":
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    one = shape[1:] if "/encoderblock/" in name else shape
    if len(one) == 1 and leaf in ("weight", "scale"):
        return (gain * random.uniform(0.5, 1.0, shape)).astype(np.float32)
    deviation = math.sqrt(2 / math.prod(one[1:])) if len(one) > 1 else 0.1
    return np.asarray(random.standard_normal(shape, np.float32) * np.float32(deviation))


def images(size: int) -> np.ndarray:
    """Two images [2, size, size, 3], float32, standard normal."""
    return np.random.Generator(np.random.Philox(key=size)).standard_normal((2, size, size, 3), np.float32)


def inputs(model: str, fields: dict, size: int) -> Any:
    """What our model called `model` with these fields takes: images of `size` pixels, or texts, or both."""
    if "vocab_size" not in fields:
        return images(size)
    texts = {"input_ids": tokens(fields["vocab_size"], fields["max_length"])}
    return texts if model.startswith("clip_text_") else {"image": images(size), **texts}


def tokens(vocabulary: int, length: int) -> np.ndarray:
    """Two texts [2, length], int32, that end with the last token at different places."""
    ids = np.random.Generator(np.random.Philox(key=length)).integers(0, vocabulary - 1, (2, length), np.int32)
    ids[0, length // 2], ids[1, -1] = vocabulary - 1, vocabulary - 1
    return ids


def load(case: str) -> Reference:
    """The stored reference."""
    with np.load(FOLDER / f"{case}.npz") as file:
        spec, logits = json.loads(file["spec"].tobytes()), file["logits"]
    tensors = {name: Filled(name, tuple(shape), spec["gain"]) for name, shape in spec["shapes"].items()}
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in spec["fields"].items()}
    return Reference(case, spec["model"], fields, spec["size"], tensors, logits)


def store(case: str, model: str, fields: dict, size: int, gain: float, shapes: dict, logits: np.ndarray) -> None:
    """Writes a reference."""
    spec = {"model": model, "fields": fields, "size": size, "gain": gain, "shapes": shapes}
    packed = np.frombuffer(json.dumps(spec).encode(), np.uint8)
    np.savez_compressed(FOLDER / f"{case}.npz", spec=packed, logits=logits)


def cases() -> list[str]:
    """The names of all stored references."""
    return sorted(path.stem for path in FOLDER.glob("*.npz") if not path.stem.startswith("real_"))


def real_logits(model: str) -> np.ndarray:
    """Logits [2, 1000] of the model with its public weights on `images` of its default size."""
    with np.load(FOLDER / f"real_{model}.npz") as file:
        return file["logits"]


def store_real(model: str, logits: np.ndarray) -> None:
    """Writes what `real_logits` reads."""
    np.savez_compressed(FOLDER / f"real_{model}.npz", logits=logits)


def arrays(name: str) -> dict[str, np.ndarray]:
    """Stored results of other libraries' functions of arrays."""
    with np.load(FOLDER / "arrays" / f"{name}.npz") as file:
        return dict(file)


def store_arrays(name: str, results: dict[str, np.ndarray]) -> None:
    """Writes what `arrays` reads."""
    np.savez_compressed(FOLDER / "arrays" / f"{name}.npz", **results)
