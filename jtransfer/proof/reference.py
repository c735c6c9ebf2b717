"""The model of a library of torch's that a checkpoint is for, run live."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.proof import traces
from jtransfer.weights import formats, maps, resolve
from jtransfer.weights.maps.open_clip import SIZES
from jtransfer.weights.report import Report
from jtransfer.weights.restore import Described, beside_source

_LOGITS = ("logits", "prediction_logits", "logits_per_image", "image_embeds", "text_embeds", "sentence_embedding")


class Theirs(NamedTuple):
    """A model of theirs.

    Attributes:
      module: of torch's, with the names of a scheme of ours.
      call: what the model takes, as tensors → logits, or a dict with some.
      name: what to call it.
    """

    module: Any
    call: Callable[[Any], Any]
    name: str


def run(
    source: str | os.PathLike, described: Described, report: Report, inputs: Any
) -> tuple[dict[str, list[np.ndarray]], str]:
    """What the reference computes, and its name.

    Args:
      source: with the reference's own tensors; all must be taken by it (`strict=True`).
      described: the model that the source describes.
      report: of the load.
      inputs: what the model takes: images [B, H, W, C], or a dict of arrays by name.

    Returns:
      `logits`, if it has a head like the model's, and what stages give (see `traces.record`).

    Raises:
      InputError: torch or the library can't be imported or run, or the source does not say which model it is of.
    """
    torch = _import("torch")
    files = beside_source(source)
    path, _ = formats.split(resolve(source))
    theirs = _builder(report.scheme, files)(Path(path), described, files.get("config.json", {}))
    theirs.module.eval()
    with torch.no_grad(), traces.record(theirs.module, described.model) as seen:
        try:
            given = theirs.call(_tensors(inputs, torch))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{theirs.name} can't be run on what the model takes: {error}") from None
    if torch.is_tensor(given):
        given = {"logits": given}
    found = {name: [given[name].numpy()] for name in (*described.model.stages, "features") if name in given}
    logits = next((given[name] for name in _LOGITS if given.get(name) is not None), None)
    return seen | found | ({} if logits is None else {"logits": [logits.numpy()]}), theirs.name


def _builder(scheme: str, files: Mapping[str, Any]) -> Callable[[Path, Described, Mapping[str, Any]], Theirs]:
    config = files.get("config.json", {})
    library = scheme.split()[0]
    if library in _BY_NAMES:
        return _BY_NAMES[library]
    if "architecture" in config:
        return _timm
    if "modules.json" in files:
        return _sentence_transformers
    if "model_type" in config:
        return _transformers
    if scheme not in _LIBRARIES:
        raise InputError(f"there is no reference for {scheme} names without a config.json; store activations.npz")
    return _LIBRARIES[scheme]


def _timm(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    timm = _import("timm")
    called = (name.split(".")[0] for name in (*described.called, described.name))
    known = [name for name in called if timm.is_model(name)]
    name, args = (known[0], config.get("model_args") or {}) if known else _named("timm", described)
    return _filled(timm.create_model(name, **args | {"num_classes": described.model.num_classes}), path)


def _timm_of_jax(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    """timm reads the .npz files of ViT-AugReg and big_vision itself."""
    timm = _import("timm")
    name, args = _named("timm", described)
    model = timm.create_model(name, **args | {"num_classes": described.model.num_classes})
    model.load_pretrained(str(path))
    return Theirs(model, model, f"timm's {type(model).__name__}")


def _torchvision(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    models = _import("torchvision").models
    known = described.name in models.list_models()
    name, args = (described.name, {}) if known else _named("torchvision", described)
    return _filled(models.get_model(name, num_classes=described.model.num_classes, weights=None, **args), path)


def _named(library: str, described: Described) -> tuple[str, dict[str, Any]]:
    """What the library calls a model, and its arguments."""
    family = maps.family(described.model)
    if not hasattr(family, library):
        raise InputError(f"the source does not say which of {library}'s models it is of; store activations.npz")
    return getattr(family, library)(described.name, described.model)


def _lite(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    package = _import("efficientnet_lite_pytorch").EfficientNet
    name = described.name.replace("_", "-")
    return _filled(package.from_name(name, num_classes=described.model.num_classes), path)


def _torch(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    """A model of torch's own layers, which the family puts together."""
    family = maps.family(described.model)
    return _filled(family.reference(_import("torch"), described.model, formats.open(path)), path)


def _transformers(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    transformers = _import("transformers")
    stated = config.get("architectures") or maps.family(described.model).transformers(described.model)["architectures"]
    known = getattr(transformers, str(stated[0]), None)
    if not (isinstance(known, type) and issubclass(known, transformers.PreTrainedModel)):
        raise InputError(f"transformers has no class {stated[0]!r}, which config.json names; store activations.npz")
    folder = path if path.is_dir() else path.parent
    model, info = known.from_pretrained(
        folder, local_files_only=True, output_loading_info=True, attn_implementation="eager", dtype="float32"
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise InputError(f"{path}: transformers does not find {sorted(info['missing_keys'])[:5]}")

    def call(inputs: Any) -> Any:
        named = inputs if isinstance(inputs, dict) else {"image": inputs}
        return model(**{{"image": "pixel_values"}.get(name, name): x for name, x in named.items()})

    return Theirs(model, call, f"transformers' {type(model).__name__}")


def _sentence_transformers(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    package, folder = _import("sentence_transformers"), path if path.is_dir() else path.parent
    model = package.SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"attn_implementation": "eager"}
    ).eval()
    inner = next(module for module in model.modules() if isinstance(module, _import("transformers").PreTrainedModel))
    return Theirs(inner, lambda inputs: model(dict(inputs)), "sentence_transformers' SentenceTransformer")


def _open_clip(path: Path, described: Described, config: Mapping[str, Any]) -> Theirs:
    name, args = _named("open_clip", described)
    found = _filled(getattr(_import("open_clip"), name)(**args), path, without=SIZES)

    def call(inputs: Any) -> dict[str, Any]:
        image, text = found.module.encode_image(inputs["image"]), found.module.encode_text(inputs["input_ids"])
        logits, _ = found.module.get_logits(inputs["image"], inputs["input_ids"])
        return {"image": image, "text": text, "logits": logits}

    return found._replace(call=call)


_LIBRARIES = {"torchvision": _torchvision, "timm": _timm}
_BY_NAMES = {  # that no other library has
    "efficientnet_lite_pytorch": _lite,
    "openai": _open_clip,
    "torch": _torch,
    **dict.fromkeys(("augreg", "big_vision"), _timm_of_jax),
}


def _filled(model: Any, path: Path, without: Sequence[str] = ()) -> Theirs:
    torch = _import("torch")
    tensors = {name: tensor for name, tensor in formats.open(path).items() if name not in without}
    tensors = {name: torch.from_numpy(np.array(tensor.read())) for name, tensor in tensors.items()}
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InputError(f"{path}: the reference does not take these tensors: {error}") from None
    return Theirs(model, model, f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}")


def _tensors(inputs: Any, torch: Any) -> Any:
    """Images as torch has them, channels before rows; whole numbers of 64 bits."""
    if isinstance(inputs, dict):
        return {name: _tensors(x, torch) for name, x in inputs.items()}
    x = torch.from_numpy(np.array(inputs))
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2).contiguous()
    return x if x.is_floating_point() else x.long()


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except (ImportError, RuntimeError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            wanted = f"--verify needs {name} (pip install {name}), or activations.npz beside the source"
            raise InputError(wanted) from None
        raise InputError(f"--verify: {name} is installed but can't be imported: {error}") from None
