"""Classifiers of texts that pool in a way no class of transformers does, as folders of sentence-transformers.

The encoder, the pooling and the dense layers of the head are modules of the folder, and what it calls the embedding of
a text are its logits. The folder of a dense layer is called as the layer is in transformers, such as "classifier".
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.models.encoder import Encoder
from jtransfer.weights import formats, maps
from jtransfer.weights.formats.lazy import Lazy
from jtransfer.weights.identify import sentence_transformers

_FILE, _WEIGHTS = "config.json", "model.safetensors"
_DENSE = "sentence_transformers.models.Dense"
_LENGTH = "sentence_bert_config.json"


class Layer(NamedTuple):
    """A dense layer after the pooling.

    Attributes:
      name: what transformers calls it.
      activation: the class of `torch.nn.modules` of what follows it.
    """

    name: str
    activation: str


def of_texts(tensors: Iterable[str]) -> bool:
    """Returns whether tensors are those of an encoder of texts, by their names; no other is worth a look at the files
    beside it."""
    return any(name.endswith("word_embeddings.weight") for name in tensors)


def fits(model: Any) -> bool:
    """Returns whether a model is a classifier of texts with another pooling than transformers' class of its family."""
    return isinstance(model, Encoder) and model.head == "classify" and model.pooled != model.usual_pooling


def encoder(model: Encoder) -> Encoder:
    """Returns the model without its head."""
    return model.clone(head="embed", pooling=model.pooled)


def files(model: Encoder, length: int | None) -> dict[str, Any]:
    """Returns the content of the files, by name, that say of what modules the folder is.

    Args:
      model: a model that `fits`.
      length: the number of tokens that texts are cut to; None where that is not known.
    """
    known = sentence_transformers.write(_embedding(model))
    modules = list(known[sentence_transformers.MODULES])
    sizes = {}
    for layer in _layers(model):
        modules.append({"idx": len(modules), "name": str(len(modules)), "path": layer.name, "type": _DENSE})
        sizes[f"{layer.name}/{_FILE}"] = {
            "in_features": model.width,
            "out_features": model.num_classes if layer == _layers(model)[-1] else model.width,
            "bias": True,
            "activation_function": f"torch.nn.modules.{layer.activation}",
        }
    cut = {} if length is None else {_LENGTH: {"max_seq_length": length, "do_lower_case": False}}
    return {**known, **sizes, **cut, sentence_transformers.MODULES: modules}


def tensors(named: Mapping[str, np.ndarray], model: Encoder) -> dict[str, dict[str, np.ndarray]]:
    """Returns the tensors of the dense layers, by the files that hold them.

    Args:
      named: all tensors of the model by transformers' names.
      model: a model that `fits`.
    """
    found = {}
    for i, layer in enumerate(_layers(model)):
        scale = np.float32(_scale(model) if i == 0 else 1)
        weight, bias = named[f"{layer.name}.weight"] * scale, named[f"{layer.name}.bias"]
        found[f"{layer.name}/{_WEIGHTS}"] = {"linear.weight": weight, "linear.bias": bias}
    return found


def read(model: Any, file: Callable[[str], Path | None]) -> dict[str, Lazy]:
    """Returns the tensors of the dense layers by transformers' names, those in a folder that was written here.

    Args:
      model: the model that the folder is of.
      file: from the name of a file in the folder to its path; None where there is no such file.
    """
    if not fits(model):
        return {}
    found = {}
    for i, layer in enumerate(_layers(model)):
        path = file(f"{layer.name}/{_WEIGHTS}")
        for name, tensor in formats.open(path).items() if path else ():
            scale = np.float32(_scale(model) if i == 0 and name == "linear.weight" else 1)
            found[name.replace("linear", layer.name)] = _divided(tensor, scale)
    return found


def _divided(tensor: Lazy, scale: np.float32) -> Lazy:
    return dataclasses.replace(tensor, fetch=lambda: tensor.read() / scale, window=None)


def _embedding(model: Encoder) -> Encoder:
    """The encoder whose embeddings, as sentence-transformers makes them, the first dense layer is given."""
    pooling = "cls" if model.pooled == "pooler" else model.pooled
    return model.clone(head="embed", pooling=pooling, normalize=pooling == "unit_mean")


def _scale(model: Encoder) -> float:
    """The length of what is pooled, where embeddings there have the length 1."""
    return math.sqrt(model.width) if model.pooled == "unit_mean" else 1.0


def _layers(model: Encoder) -> tuple[Layer, ...]:
    pooler = (Layer("pooler.dense", "activation.Tanh"),) if model.pooled == "pooler" else ()
    return (*pooler, *(Layer(*layer) for layer in maps.family(model).CLASSIFIER))
