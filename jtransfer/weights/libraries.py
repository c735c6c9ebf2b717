"""What other libraries need to load an exported model: all tensors that they ask for, and their configuration files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.weights import maps
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.save import to_tensors

LABELLED = ("classify", "tag")  # heads with classes


def scheme(model: Any, library: str) -> Scheme:
    """Returns the naming scheme that a library reads for a model.

    Args:
      model: a model of `jtransfer.models`.
      library: "transformers", "timm" or "torchvision". timm has some models under torchvision's names.

    Raises:
      InputError: there is no such model in the library, or no map to it.
    """
    if library != "timm" and getattr(model, "headless", False):
        raise InputError(f"{library} has no {type(model).__name__} without a classifier; export it to timm")
    first = {known.name.split()[0]: known for known in reversed(maps.schemes(model))}
    if library == "timm" and "torchvision" in first and hasattr(maps.family(model), "timm"):
        first.setdefault("timm", first["torchvision"])
    if library not in first:
        raise _absent(library, model)
    return first[library]


def tensors(variables: Mapping[str, Any], model: Any, library: str) -> dict[str, np.ndarray]:
    """Returns all tensors that a library's model holds, by its names, so that it loads them strictly.

    Args:
      variables: {"params": …, "batch_stats": …}.
      model: a model of `jtransfer.models`.
      library: as for `scheme`.

    Raises:
      InputError: as for `scheme`.
    """
    chosen = scheme(model, library)
    named = to_tensors(variables, model, scheme=chosen.name)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in chosen.zeros.items()}
    return named | zeros | dict(chosen.derived) | buffers(named)


def buffers(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns the counters that torch's batch norms keep beside their statistics, for which a strict load asks.

    Args:
      names: of all tensors; those that end in ".running_var" are of batch norms.
    """
    norms = (name.removesuffix("running_var") for name in names if name.endswith(".running_var"))
    return {f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}


def timm(name: str, model: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns the config.json with which `timm.create_model("local-dir:FOLDER", pretrained=True)` builds the model.

    How images are prepared is not in it; the modality says it, see `own_files`.

    Args:
      name: the model's name in `models.names()`.
      model: the model.
      class_names: the names of its classes, or none.

    Raises:
      InputError: timm has no such model, or not with these fields.
    """
    family = maps.family(model)
    if not hasattr(family, "timm"):
        raise _absent("timm", model)
    architecture, args = family.timm(name, model)
    num_classes = 0 if model.head == "embed" else model.num_classes
    pretrained: dict[str, Any] = {"input_size": [model.channels, *model.sides], "num_classes": num_classes}
    if class_names and num_classes:
        pretrained["label_names"] = list(class_names)
    if model.channels != 3:
        args["in_chans"] = model.channels
    config = {"architecture": architecture, "num_classes": num_classes, "pretrained_cfg": pretrained}
    return config | ({"model_args": args} if args else {})


def transformers(name: str, model: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns the config.json with which an `AutoModelFor….from_pretrained(FOLDER)` builds the model.

    Args:
      name: the model's name in `models.names()`.
      model: the model.
      class_names: the names of its classes, or none.

    Raises:
      InputError: transformers has no such model, or not with these fields.
    """
    family = maps.family(model)
    if not hasattr(family, "transformers"):
        raise _absent("transformers", model)
    config: dict[str, Any] = {"dtype": "float32"}
    if model.preprocessing:
        config["num_channels"] = model.channels
    if getattr(model, "head", "classify") in LABELLED:
        config |= labels(class_names, model.num_classes)
    return config | family.transformers(model)


def labels(class_names: Sequence[str], num_classes: int) -> dict[str, dict[str, Any]]:
    """Returns the fields `id2label` and `label2id` of transformers' config.json.

    Args:
      class_names: the names of the classes, or none.
      num_classes: how many there are.
    """
    names = list(class_names) or [f"LABEL_{i}" for i in range(num_classes)]
    return {
        "id2label": {str(i): label for i, label in enumerate(names)},
        "label2id": {label: i for i, label in enumerate(names)},
    }


def _absent(library: str, model: Any) -> InputError:
    known = ", ".join(scheme.name for scheme in maps.schemes(model))
    return InputError(f"{library} has no {type(model).__name__} that is known here; there are names for {known}")
