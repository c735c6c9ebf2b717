"""The model of a library of torch's that a checkpoint is for, run live.

The library is given what was read here, tensors and the content of config files, and never the folder: it would follow
what the files there name, which may be code, other files or other repositories.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.proof import traces
from jtransfer.weights import Checkpoint, ModelSpec, formats, maps
from jtransfer.weights.formats import transformers_flax
from jtransfer.weights.identify import sentence_transformers
from jtransfer.weights.maps.open_clip import SIZES
from jtransfer.weights.report import Report

_LOGITS = ("logits", "prediction_logits", "logits_per_image", "image_embeds", "text_embeds", "sentence_embedding")


class Reference(NamedTuple):
    """A library's own model.

    Attributes:
      module: a `torch.nn.Module`, whose tensors have the names of a scheme that is known here.
      call: a function of what the model takes, as torch tensors, to logits, or to a dict that has them.
      name: what to call the model, such as "timm's ResNet".
    """

    module: Any
    call: Callable[[Any], Any]
    name: str


def run(
    checkpoint: Checkpoint, spec: ModelSpec, report: Report, inputs: Any
) -> tuple[dict[str, list[np.ndarray]], str]:
    """Runs the model of the library that a checkpoint comes from, and returns what its stages give, and its name.

    Args:
      checkpoint: the reference's own tensors; it must take all of them (`strict=True`).
      spec: the model that the checkpoint is of.
      report: of the load.
      inputs: what the model takes: images [B, H, W, C], or a dict of arrays by name.

    Returns:
      `logits`, if it has a head like the model's, and what stages give (see `traces.record`).

    Raises:
      InputError: torch or the library can't be imported or run, or the source does not say which model it is of.
    """
    torch = _import("torch")
    files = checkpoint.configs
    build = _builder(report.scheme, files)
    try:
        reference = build(checkpoint.path, spec, inert(files.get("config.json", {})))
    except InputError:
        raise
    except Exception as error:  # of a library that is given what somebody's files state
        said = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"--verify: the library does not build the model: {type(error).__name__}: {said}") from error
    reference.module.eval()
    with torch.no_grad(), traces.record(reference.module, spec.model) as seen:
        try:
            given = reference.call(_tensors(inputs, torch))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{reference.name} can't be run on what the model takes: {error}") from None
    if torch.is_tensor(given):
        given = {"logits": given}
    found = {name: [given[name].numpy()] for name in (*spec.model.stages, "features") if name in given}
    logits = next((given[name] for name in _LOGITS if given.get(name) is not None), None)
    return seen | found | ({} if logits is None else {"logits": [logits.numpy()]}), reference.name


def _builder(scheme: str, files: Mapping[str, Any]) -> Callable[[Path, ModelSpec, Mapping[str, Any]], Reference]:
    config = files.get("config.json", {})
    library = scheme.split()[0]
    if library in _BY_NAMES:
        return _BY_NAMES[library]
    if "architecture" in config:
        return _timm
    if sentence_transformers.MODULES in files:
        return partial(_sentence_transformers, sentence_transformers.pooling(files))
    if "model_type" in config:
        return _transformers
    if scheme not in _LIBRARIES:
        raise InputError(f"there is no reference for {scheme} names without a config.json; store activations.npz")
    return _LIBRARIES[scheme]


def _timm(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    timm = _import("timm")
    names = (name.split(".")[0] for name in (*spec.aliases, spec.name))
    known = [name for name in names if timm.is_model(name)]
    name, args = (known[0], _arguments(spec, config)) if known else _named("timm", spec)
    args |= {"num_classes": spec.model.num_classes, "pretrained": False}
    return _filled(timm.create_model(name, **args), path)


def _arguments(spec: ModelSpec, config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of timm's arguments in a config.json that change the model; none of them names a file or an address."""
    table = getattr(maps.family(spec.model), "TIMM", {})
    stated = config.get("model_args") or {}
    return {key: value for key, value in stated.items() if key in table or key in ("in_chans", "ls_init_value")}


def _timm_of_jax(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    """timm reads the .npz files of ViT-AugReg and big_vision itself, with numpy, which does not unpickle."""
    timm = _import("timm")
    name, args = _named("timm", spec)
    model = timm.create_model(name, **args | {"num_classes": spec.model.num_classes, "pretrained": False})
    model.load_pretrained(str(path))
    return Reference(model, model, f"timm's {type(model).__name__}")


def _torchvision(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    models = _import("torchvision").models
    known = spec.name in models.list_models()
    name, args = (spec.name, {}) if known else _named("torchvision", spec)
    return _filled(models.get_model(name, num_classes=spec.model.num_classes, weights=None, **args), path)


def _named(library: str, spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """What the library calls a model, and its arguments."""
    family = maps.family(spec.model)
    if not hasattr(family, library):
        raise InputError(f"the source does not say which of {library}'s models it is of; store activations.npz")
    return getattr(family, library)(spec.name, spec.model)


def _lite(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    package = _import("efficientnet_lite_pytorch").EfficientNet
    name = spec.name.replace("_", "-")
    return _filled(package.from_name(name, num_classes=spec.model.num_classes), path)


def _torch(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    """A model of torch's own layers, which the family puts together."""
    family = maps.family(spec.model)
    return _filled(family.reference(_import("torch"), spec.model, formats.open(path)), path)


def _transformers(path: Path, spec: ModelSpec, config: Mapping[str, Any], called: str = "") -> Reference:
    """A model of transformers.

    Args:
      path, spec, config: as for all.
      called: the class; by default the one that config.json names.
    """
    transformers = _import("transformers")
    stated = [called] if called else config.get("architectures") or _class_of(spec)
    known = getattr(transformers, str(stated[0]), None)
    if not (isinstance(known, type) and issubclass(known, transformers.PreTrainedModel)):
        raise InputError(f"transformers has no class {stated[0]!r}, which config.json names; store activations.npz")
    tensors = formats.open(path)
    flax = transformers_flax.is_transformers_flax(tensors)
    model, info = known.from_pretrained(
        None,
        config=known.config_class.from_dict(dict(config)),
        state_dict=_held(transformers_flax.as_torch(tensors) if flax else tensors),
        output_loading_info=True,
        attn_implementation="eager",
        dtype="float32",
        local_files_only=True,
        trust_remote_code=False,
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise InputError(f"{path}: transformers does not find {sorted(info['missing_keys'])[:5]}")

    def call(inputs: Any) -> Any:
        named = inputs if isinstance(inputs, dict) else {"image": inputs}
        return model(**{{"image": "pixel_values"}.get(name, name): x for name, x in named.items()})

    return Reference(model, call, f"transformers' {type(model).__name__}")


def _class_of(spec: ModelSpec) -> list[str]:
    """The `architectures` of a model in transformers."""
    return maps.family(spec.model).transformers(spec.model)["architectures"]


def _sentence_transformers(
    pooling: tuple[str, bool], path: Path, spec: ModelSpec, config: Mapping[str, Any]
) -> Reference:
    """transformers' model with the pooling and the normalisation of sentence-transformers after it."""
    package = _import("sentence_transformers")
    since_6 = importlib.util.find_spec("sentence_transformers.sentence_transformer")
    modules = importlib.import_module(f"{package.__name__}.{'sentence_transformer.modules' if since_6 else 'models'}")
    encoder, (mode, normalize) = _transformers(path, spec, config, _class_of(spec)[0]), pooling
    after = [modules.Pooling(spec.model.width, pooling_mode=mode), *([modules.Normalize()] if normalize else [])]

    def call(inputs: Any) -> Any:
        found = {"token_embeddings": encoder.call(inputs)[0], "attention_mask": inputs["attention_mask"]}
        for module in after:
            found = module(found)
        return found

    named = " and ".join(["Pooling", *(["Normalize"] if normalize else [])])
    return Reference(encoder.module, call, f"sentence_transformers' {named} of {encoder.name}")


def _open_clip(path: Path, spec: ModelSpec, config: Mapping[str, Any]) -> Reference:
    name, args = _named("open_clip", spec)
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


def _filled(model: Any, path: Path, without: Sequence[str] = ()) -> Reference:
    try:
        model.load_state_dict(_held(formats.open(path), without), strict=True)
    except RuntimeError as error:
        raise InputError(f"{path}: the reference does not take these tensors: {error}") from None
    return Reference(model, model, f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}")


def _held(tensors: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """The tensors of a checkpoint as torch's; numbers that numpy does not know become float32."""
    torch = _import("torch")
    arrays = {name: np.array(tensor.read()) for name, tensor in tensors.items() if name not in without}
    own = {name: x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.num > 255 else x for name, x in arrays.items()}
    return {name: torch.from_numpy(x) for name, x in own.items()}


_FOLLOWED = frozenset(
    (
        *("auto_map", "attn_implementation", "experts_implementation", "quantization_config", "custom_pipelines"),
        *("custom_generate", "trust_remote_code", "use_kernels", "name_or_path"),
    )
)
"""Keys of a config.json that have a library import code, or fetch something."""


def inert(config: Any) -> Any:
    """Returns the content of a config.json, however deep, without what has a library follow to other files or code."""
    if isinstance(config, dict):
        return {key: inert(value) for key, value in config.items() if key not in _FOLLOWED and key[:1] != "_"}
    return [inert(value) for value in config] if isinstance(config, list) else config


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
