"""What can be exported to a library, which is told before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.modalities import MODALITIES
from jtransfer.weights import libraries
from jtransfer.weights.identify import sentence_transformers


def check_known(name: str) -> None:
    """Checks that libraries may have a model of a name.

    Raises:
      InputError: it is made of other models, or a part of them.
    """
    if name in (*models.MADE, *models.SINGLE):
        raise InputError(f"no library has the model {name!r}; write safetensors, npz, orbax, onnx or stablehlo")


def configurations(
    library: str, name: str, model: Any, classes: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns a library's configuration files by name, and lines on what it does otherwise with the model's inputs.

    Args:
      library: "transformers", "timm", "torch" or "torchvision"; the last two have no such files.
      name: of the model.
      model: the model.
      classes: the names of its classes, or none.

    Raises:
      InputError: the library has no such model, or can't be told its preprocessing.
    """
    if library in ("torch", "torchvision"):
        return {}, ()
    files, lines = {"config.json": getattr(libraries, library)(name, model, classes)}, []
    for known in MODALITIES.values():
        own, notes = known.own_files(model, library)
        for file, content in own.items():
            files[file] = _merged(files.get(file, {}), content)
        lines += notes
    return files | (sentence_transformers.write(model) if library == "transformers" else {}), tuple(lines)


def _merged(content: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, **{k: content[k] | v if isinstance(content.get(k), dict) else v for k, v in more.items()}}
