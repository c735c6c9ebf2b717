"""The names of LSTM and GRU encoders in torch and Keras.

Models of torch have no common names, so usual names of the attributes that hold its layers are known. The gates have
torch's order here; those of Keras's GRU begin with update and reset.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.models.recurrent import Recurrent
from jtransfer.weights.mapping import Map, Scheme, Transform, dense, identity, linear

MODEL = Recurrent
_EMBEDDINGS = ("embedding", "embeddings", "embed", "word_embeddings")
_LAYERS = ("rnn", "encoder")  # after the cell's own name
_HEADS = ("fc", "classifier", "linear", "head", "out", "output")
_DIRECTIONS = {"forward": "", "backward": "_reverse"}


def schemes(model: Recurrent) -> tuple[Scheme, ...]:
    """The naming schemes of a model, of the libraries that have such cells."""
    found = []
    if model.biases != 1 and model.reset_after:
        found.append(Scheme("torch", tuple(_torch(model)), ignore=()))
    double = model.cell == "gru" and model.reset_after
    if model.biases in (0, 2 if double else 1):
        found.append(Scheme("keras", tuple(_keras(model, double)), ignore=()))
    return tuple(found)


def _torch(model: Recurrent) -> Iterator[Map]:
    yield from (Map(f"{name}.weight", "embed/tokens/embedding") for name in _EMBEDDINGS)
    kinds = {"weight_ih": "kernel", "weight_hh": "recurrent", "bias_ih": "bias", "bias_hh": "recurrent_bias"}
    for prefix in (f"{model.cell}.", *(f"{name}." for name in _LAYERS), ""):
        for direction, end in _DIRECTIONS.items():
            for theirs, ours in kinds.items():
                transform = linear if theirs.startswith("weight") else identity
                yield Map(f"{prefix}{theirs}_l{{i}}{end}", f"layer_{{i}}/{direction}/{ours}", transform)
    for name in _HEADS:
        yield from dense(name, "head/dense")


def _keras(model: Recurrent, double: bool) -> Iterator[Map]:
    """The names in Keras 3's `.weights.h5` and `.keras`, of a model whose layers have their default names."""
    yield Map("layers/embedding/vars/0", "embed/tokens/embedding")
    swap = _swapped if model.cell == "gru" else identity
    wrapped = "bidirectional" if model.bidirectional else model.cell
    for name, i in ((wrapped, "0"), (f"{wrapped}_{{i}}", "{i}")):
        for direction in _DIRECTIONS if model.bidirectional else ("forward",):
            theirs = f"layers/{name}/{direction}_layer/cell" if model.bidirectional else f"layers/{name}/cell"
            ours = f"layer_{i}/{direction}"
            yield Map(f"{theirs}/vars/0", f"{ours}/kernel", swap)
            yield Map(f"{theirs}/vars/1", f"{ours}/recurrent", swap)
            if double:
                yield Map(f"{theirs}/vars/2", (f"{ours}/bias", f"{ours}/recurrent_bias"), _two)
            else:
                yield Map(f"{theirs}/vars/2", f"{ours}/bias", swap)
    yield Map("layers/dense/vars/0", "head/dense/kernel")
    yield Map("layers/dense/vars/1", "head/dense/bias")


def _swap(x: np.ndarray) -> np.ndarray:
    """The first two of three gates in the other order; its own inverse."""
    first, second, third = np.split(x, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)


def _both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bias, recurrent = _swap(x)
    return bias, recurrent


_swapped = Transform(_swap, _swap)
_two = Transform(_both, lambda *biases: _swap(np.stack(biases)))  # [2, gates · features] ↔ two biases


def reference(torch: Any, model: Recurrent, names: Collection[str]) -> Any:
    """A module of torch's own layers that computes what a model here computes.

    It is called as the model, with torch's tensors, and gives a dict of "logits", "features" and the output of the last
    layer.

    Args:
      torch: The package torch.
      model: The model here.
      names: The names of the tensors of a file, which tell the attributes of the module.
    """
    tokens = next(name for name in _EMBEDDINGS if f"{name}.weight" in names)
    layers = next(name.rpartition(".")[0] for name in names if name.endswith("weight_hh_l0"))
    head = next((name for name in _HEADS if f"{name}.weight" in names), None)
    both = model.bidirectional
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[model.cell]
    parts = {
        tokens: torch.nn.Embedding(model.vocab_size, model.width),
        layers: kind(model.width, model.features, model.depth, model.biases > 0, batch_first=True, bidirectional=both),
    }
    if head:
        parts[head] = torch.nn.Linear(model.features * (1 + both), model.num_classes)

    def pooled(x: Any) -> Any:
        """Of a text without padding."""
        if model.head == "tag":
            return x
        if model.pooling == "last":
            return torch.cat([x[-1, : model.features], x[0, model.features :]])
        return x.mean(0) if model.pooling == "mean" else x.max(0).values

    class Layers(torch.nn.Module):
        def forward(self, inputs):
            text = torch.nn.utils.rnn
            lengths = inputs["attention_mask"].sum(1)
            packed = text.pack_padded_sequence(parts[tokens](inputs["input_ids"]), lengths, True, False)
            x = text.pad_packed_sequence(parts[layers](packed)[0], True)[0]
            rows = [pooled(row[:n]) for row, n in zip(x, lengths, strict=True)]
            features = text.pad_sequence(rows, True) if model.head == "tag" else torch.stack(rows)
            logits = parts[head](features) if head else torch.nn.functional.normalize(features)
            return {f"layer_{model.depth - 1}": x, "features": features, "logits": logits}

    module = Layers()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """The sizes, which names and shapes show. How the text is pooled can't be told. See `maps.fields`."""
    shapes = {name: tuple(names[name].shape) for name in names} if isinstance(names, Mapping) else {}
    read = {"torch": _torch_sizes, "keras": _keras_sizes}[scheme]
    return {**read(shapes), "pooling": None}


def _torch_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    tables = [shapes[f"{name}.weight"] for name in _EMBEDDINGS if f"{name}.weight" in shapes]
    states = [shape for name, shape in shapes.items() if re.search(r"weight_hh_l0$", name)]
    if not tables or not states:
        return {}
    (vocab_size, width), (wide, features) = tables[0], states[0]
    return {
        "vocab_size": vocab_size,
        "width": width,
        "features": features,
        "cell": "lstm" if wide == 4 * features else "gru",
        "depth": sum(re.search(r"weight_hh_l\d+$", name) is not None for name in shapes),
        "bidirectional": any(name.endswith("_reverse") for name in shapes),
        "biases": 2 if any("bias_hh" in name for name in shapes) else 0,
    }


def _keras_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    both = any("/backward_layer/" in name for name in shapes)
    states = {name: shape for name, shape in shapes.items() if name.endswith("cell/vars/1")}
    if "layers/embedding/vars/0" not in shapes or not states:
        return {}
    vocab_size, width = shapes["layers/embedding/vars/0"]
    features, wide = next(iter(states.values()))
    biases = [shape for name, shape in shapes.items() if name.endswith("cell/vars/2")]
    cell = "lstm" if wide == 4 * features else "gru"
    return {
        "vocab_size": vocab_size,
        "width": width,
        "features": features,
        "cell": cell,
        "depth": len(states) // (2 if both else 1),
        "bidirectional": both,
        "biases": len(biases) and (2 if len(biases[0]) == 2 else 1),
        **({"reset_after": False} if cell == "gru" and biases and len(biases[0]) == 1 else {}),
    }
