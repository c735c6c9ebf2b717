"""What can be exported to a library, which is told before anything is trained."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities import MODALITIES
from jtransfer.models.paths import in_head
from jtransfer.weights import libraries
from jtransfer.weights.identify import sentence_classifier, sentence_transformers
from jtransfer.weights.save import assignments
from jtransfer.weights.shapes import abstract

LIBRARIES = {"hf": "transformers", "timm": "timm", "torch": "torch", "torchvision": "torchvision"}
"""Format of an export → the library that reads it."""

OWN = ("safetensors", "npz", "orbax", "onnx", "tflite", "stablehlo")  # formats of any model
FOLDER = "export"  # in a run's folder
_NEED = {"onnx": ("onnx", "onnxruntime"), "tflite": ("litert_converter", "ai_edge_litert")}  # format → modules


def check(run: Any, variables: Mapping[str, Any]) -> None:
    """Checks that the model of a run will be such as `config.export` can write, as far as that is known before it is
    trained.

    Args:
      run: a `build.Run`.
      variables: the shapes of what may be trained.

    Raises:
      InputError: there is no such format, or the library has no such model, or can't have its adapters merged, or can't
        be told how its inputs are prepared.
    """
    format = run.config.export
    if not format:
        return
    if format not in (*LIBRARIES, *OWN):
        raise unknown("export", format, (*LIBRARIES, *OWN))
    try:
        _check(run, format, variables)
    except InputError as error:
        raise InputError(f"config.export={format!r}: {' '.join(str(error).split())}") from None


def _check(run: Any, format: str, variables: Mapping[str, Any]) -> None:
    if "://" in run.folder:
        raise InputError(
            f"the run's folder {run.folder} is not local; export it with jtransfer.export when it has ended"
        )
    if missing := [name for name in _NEED.get(format, ()) if importlib.util.find_spec(name) is None]:
        raise InputError(f"{' and '.join(missing)} is missing: pip install 'jtransfer[{format}]'")
    if adapters := variables.get("adapters"):
        sites = peft.sites(run.model, abstract(run.model, run.sample), run.sample)
        jax.eval_shape(lambda params, own: peft.merge(params, own, sites), variables["params"], adapters)
    if format not in LIBRARIES:
        return
    library, name = LIBRARIES[format], run.config.model.name
    check_known(name)
    model, classes = run.target.modality.with_preprocessing(run.model), run.target.class_names
    params = list(trees.flatten(variables["params"]))
    if library == "transformers" and sentence_classifier.fits(model):
        model, params = sentence_classifier.encoder(model), [path for path in params if not in_head(path)]
    configurations(library, name, model, classes)
    statistics = trees.flatten(abstract(model, run.sample).get("batch_stats", {}))
    assignments([*params, *statistics], model, libraries.scheme(model, library).name)


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
