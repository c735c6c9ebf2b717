"""Stored outputs of tiny Flax models of transformers 4, one file `transformers_flax/<case>.npz` each:

spec    JSON: config.json, and the shapes of the tree's leaves by path
logits  float32, of `inputs`
"""

import json
from pathlib import Path

import flax
import numpy as np
from flax.traverse_util import unflatten_dict

from references import decoders, fill, images, tokens

FOLDER = Path(__file__).parent / "transformers_flax"
FILE = "flax_model.msgpack"
VOCABULARY = 41


def inputs(kind: str) -> dict[str, np.ndarray]:
    """What a model of the kind takes: "image" [2, 32, 32, 3], "text", "pair" of image and text, or "seq2seq"."""
    ids, mask = decoders.texts(7, VOCABULARY)
    if kind in ("image", "pair"):
        return {"image": images(32), **({"input_ids": tokens(VOCABULARY, 12)} if kind == "pair" else {})}
    text = {"input_ids": ids, "attention_mask": mask}
    if kind == "text":
        return text
    decoder_ids, decoder_mask = decoders.texts(5, VOCABULARY)
    return text | {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask}


def cases() -> list[str]:
    """The names of all stored cases."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def load(case: str) -> tuple[dict, np.ndarray]:
    """The spec, with the kind of the inputs, and the logits of a case."""
    with np.load(FOLDER / f"{case}.npz") as file:
        return json.loads(file["spec"].tobytes()), file["logits"]


def store(case: str, spec: dict, logits: np.ndarray) -> None:
    """Writes what `load` reads."""
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / f"{case}.npz", spec=np.frombuffer(json.dumps(spec).encode(), np.uint8), logits=logits)


def leaves(spec: dict) -> dict[str, np.ndarray]:
    """The numbers of the tree by path, as they were when the logits were computed."""
    return {path: filled(path, tuple(shape)) for path, shape in spec["shapes"].items()}


def filled(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of the leaf at a path: those of `fill`, where running variances have torch's name."""
    return fill(f"{path}.running_var" if path.endswith("/var") else path, shape)


def write(case: str, folder: Path, dtype: str = "float32") -> Path:
    """A folder with config.json and flax_model.msgpack, as `save_pretrained` of a Flax model left it."""
    spec, _ = load(case)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(spec["config"]))
    write_leaves(folder / FILE, {path: leaf.astype(dtype) for path, leaf in leaves(spec).items()})
    return folder


def write_leaves(path: Path, flat: dict[str, np.ndarray]) -> None:
    """Writes a tree, of which the leaves are given by path."""
    path.write_bytes(flax.serialization.msgpack_serialize(unflatten_dict(flat, sep="/")))
