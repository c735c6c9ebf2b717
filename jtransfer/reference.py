"""The model of torchvision, timm, transformers or efficientnet_lite_pytorch that a checkpoint is for, run live."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.errors import InputError
from jtransfer.weights import formats, resolve
from jtransfer.weights.report import Report
from jtransfer.weights.restore import Described, beside_source


def run(
    source: str | os.PathLike, described: Described, report: Report, images: np.ndarray
) -> tuple[dict[str, np.ndarray], str]:
    """What the reference computes, and its name.

    Args:
      source: with the reference's own tensors; all must be taken by it (`strict=True`).
      described: the model that the source describes.
      report: of the load; its names tell which of their modules is which stage.
      images: float32 [B, H, W, C].

    Returns:
      `images`, `logits`, `features` and what the stages return that are modules of theirs, channels last.

    Raises:
      InputError: neither torch nor the library can be imported, or the source does not say which model it is of.
    """
    torch = _import("torch")
    config = beside_source(source).get("config.json", {})
    build = _builder(report.scheme, config)
    path, _ = formats.split(resolve(source))
    model = build(Path(path), described, config).eval()
    seen: dict[str, np.ndarray] = {}
    modules = dict(model.named_modules())
    for stage, prefix in _prefixes(report):
        if prefix in modules:
            modules[prefix].register_forward_hook(_recorder(stage, seen))
    with torch.no_grad():
        logits = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    seen |= {"images": images, "logits": getattr(logits, "logits", logits).numpy()}
    return seen, f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}"


def _builder(scheme: str, config: Mapping[str, Any]) -> Callable[..., Any]:
    if "architecture" in config:
        return _timm
    if "model_type" in config:
        return _transformers
    builders = {"torchvision": _torchvision, "timm": _timm, "efficientnet_lite_pytorch": _lite}
    if scheme not in builders:
        raise InputError(f"there is no reference for {scheme} names without a config.json; store activations.npz")
    return builders[scheme]


def _timm(path: Path, described: Described, config: Mapping[str, Any]) -> Any:
    timm = _import("timm")
    names = (name.split(".")[0] for name in (*described.called, described.name))
    known = [name for name in names if timm.is_model(name)]
    if not known:
        raise InputError("the source does not say which of timm's models it is of; store activations.npz")
    model = timm.create_model(known[0], num_classes=described.model.num_classes, **(config.get("model_args") or {}))
    return _filled(model, path)


def _torchvision(path: Path, described: Described, config: Mapping[str, Any]) -> Any:
    models = _import("torchvision").models
    if described.name not in models.list_models():
        raise InputError(f"torchvision has no model {described.name!r}; store activations.npz")
    fields = {"num_classes": described.model.num_classes, "weights": None}
    return _filled(models.get_model(described.name, **fields), path)


def _transformers(path: Path, described: Described, config: Mapping[str, Any]) -> Any:
    auto = _import("transformers").AutoModelForImageClassification
    model, info = auto.from_pretrained(
        path if path.is_dir() else path.parent, local_files_only=True, output_loading_info=True
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise InputError(f"{path}: transformers does not find {sorted(info['missing_keys'])[:5]}")
    return model


def _lite(path: Path, described: Described, config: Mapping[str, Any]) -> Any:
    package = _import("efficientnet_lite_pytorch").EfficientNet
    name = described.name.replace("_", "-")
    return _filled(package.from_name(name, num_classes=described.model.num_classes), path)


def _filled(model: Any, path: Path) -> Any:
    torch = _import("torch")
    tensors = {name: torch.from_numpy(np.array(tensor.read())) for name, tensor in formats.open(path).items()}
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InputError(f"{path}: the reference does not take these tensors: {error}") from None
    return model


def _prefixes(report: Report) -> Iterator[tuple[str, str]]:
    """Stages and the one module of theirs that holds all of a stage's tensors and no others: of the head the innermost,
    whose input the features are, of all others the outermost."""
    held: dict[str, list[list[str]]] = {}
    for path, names, _ in report.loaded:
        held.setdefault(path.split("/")[0], []).extend(name.split(".")[:-1] for name in names)
    for stage, modules in held.items():
        alike = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*modules, strict=False))
        prefix = [names[0] for names in alike]
        others = [module for other, theirs in held.items() if other != stage for module in theirs]
        alone = [n for n in range(1, len(prefix) + 1) if all(module[:n] != prefix[:n] for module in others)]
        if alone:
            yield stage, ".".join(prefix[: alone[-1] if stage == "head" else alone[0]])


def _recorder(stage: str, seen: dict[str, np.ndarray]) -> Callable[..., None]:
    """Keeps what a module returns and, of the head, what it takes."""

    def record(module: Any, taken: tuple, given: Any) -> None:
        if stage == "head":
            seen["features"] = _channels_last(taken[0])
            return
        given = given[0] if isinstance(given, tuple) else getattr(given, "last_hidden_state", given)
        seen[stage] = _channels_last(given)

    return record


def _channels_last(tensor: Any) -> np.ndarray:
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise InputError(f"--verify needs {name} (pip install {name}), or activations.npz beside the source") from None
    except (RuntimeError, OSError) as error:
        raise InputError(f"--verify: {name} is installed but can't be imported: {error}") from None
