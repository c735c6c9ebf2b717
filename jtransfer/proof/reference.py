"""The model of a library of torch's that a checkpoint is for, run live."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.proof import traces
from jtransfer.weights import Checkpoint, ModelSpec, formats, maps, subtree
from jtransfer.weights.formats import choice, transformers_flax
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


class _Source(NamedTuple):
    """What a reference is made from.

    Attributes:
      checkpoint: that was converted.
      tensors: those of the network that was taken, by their names in it.
      spec: the model that the checkpoint is of.
      report: of the conversion.
    """

    checkpoint: Checkpoint
    tensors: Mapping[str, Any]
    spec: ModelSpec
    report: Report

    @property
    def path(self) -> Path:
        return self.checkpoint.path

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def config(self) -> Mapping[str, Any]:
        return self.checkpoint.configs.get("config.json", {})

    @property
    def is_folders(self) -> bool:
        """Whether a library that is given the folder reads these tensors: all of its first weights file."""
        first = next((name for name in choice.ORDER if (self.folder / name).is_file()), "")
        whole = not (self.report.prefix or self.checkpoint.subtree or self.checkpoint.ignored)
        return whole and (self.path.is_dir() or self.path.name == first)

    def fresh(self, module: Any) -> set[str]:
        """The names of the module's tensors that the conversion drew anew."""
        drawn = {path for path, _ in self.report.reinitialised}
        found = traces.assignments(module, self.spec.model)
        return {name for a in found if drawn.issuperset(a.param_paths) for name in a.source_names}

    def used(self) -> dict[str, Any]:
        """The tensors but for those that the conversion left out."""
        left_out = {name for name, _ in self.report.ignored}
        return {name: tensor for name, tensor in self.tensors.items() if name not in left_out}


def run(
    checkpoint: Checkpoint, spec: ModelSpec, report: Report, inputs: Any
) -> tuple[dict[str, list[np.ndarray]], str]:
    """Runs the model of the library that a checkpoint comes from, and returns what its stages give, and its name.

    Args:
      checkpoint: the reference's own tensors; it must take all of those that the conversion took, and miss none but
        those that were drawn anew.
      spec: the model that the checkpoint is of.
      report: of the load.
      inputs: what the model takes: images [B, H, W, C], or a dict of arrays by name.

    Returns:
      `logits`, if it has a head like the model's, and what stages give (see `traces.record`).

    Raises:
      InputError: torch or the library can't be imported or run, or the source does not say which model it is of.
    """
    torch = _import("torch")
    checkpoint = dataclasses.replace(checkpoint)  # the file is opened anew
    tensors = checkpoint.tensors
    network = subtree.below(tensors, report.prefix) if report.prefix else tensors
    reference = _builder(report.scheme, checkpoint.configs)(_Source(checkpoint, network, spec, report))
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


def _builder(scheme: str, files: Mapping[str, Any]) -> Callable[[_Source], Reference]:
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


def _timm(source: _Source) -> Reference:
    timm, spec = _import("timm"), source.spec
    names = (name.split(".")[0] for name in (*spec.aliases, spec.name))
    known = [name for name in names if timm.is_model(name)]
    name, args = (known[0], source.config.get("model_args") or {}) if known else _named("timm", spec)
    return _filled(timm.create_model(name, **args | {"num_classes": spec.model.num_classes}), source)


def _timm_of_jax(source: _Source) -> Reference:
    """timm reads the .npz files of ViT-AugReg and big_vision itself."""
    timm = _import("timm")
    name, args = _named("timm", source.spec)
    model = timm.create_model(name, **args | {"num_classes": source.spec.model.num_classes})
    model.load_pretrained(str(source.path))
    return Reference(model, model, f"timm's {type(model).__name__}")


def _torchvision(source: _Source) -> Reference:
    models, spec = _import("torchvision").models, source.spec
    known = spec.name in models.list_models()
    name, args = (spec.name, {}) if known else _named("torchvision", spec)
    return _filled(models.get_model(name, num_classes=spec.model.num_classes, weights=None, **args), source)


def _named(library: str, spec: ModelSpec) -> tuple[str, dict[str, Any]]:
    """What the library calls a model, and its arguments."""
    family = maps.family(spec.model)
    if not hasattr(family, library):
        raise InputError(f"the source does not say which of {library}'s models it is of; store activations.npz")
    return getattr(family, library)(spec.name, spec.model)


def _lite(source: _Source) -> Reference:
    package, spec = _import("efficientnet_lite_pytorch").EfficientNet, source.spec
    return _filled(package.from_name(spec.name.replace("_", "-"), num_classes=spec.model.num_classes), source)


def _torch(source: _Source) -> Reference:
    """A model of torch's own layers, which the family puts together."""
    model = source.spec.model
    return _filled(maps.family(model).reference(_import("torch"), model, source.used()), source)


def _transformers(source: _Source) -> Reference:
    transformers, model = _import("transformers"), source.spec.model
    stated = source.config.get("architectures") or maps.family(model).transformers(model)["architectures"]
    known = getattr(transformers, str(stated[0]), None)
    if not (isinstance(known, type) and issubclass(known, transformers.PreTrainedModel)):
        raise InputError(f"transformers has no class {stated[0]!r}, which config.json names; store activations.npz")
    how = {"output_loading_info": True, "attn_implementation": "eager", "dtype": "float32"}
    flax = transformers_flax.is_transformers_flax(formats.open(source.path))
    if source.is_folders and not flax:
        model, info = known.from_pretrained(source.folder, local_files_only=True, **how)
    else:
        stated = known.config_class.from_pretrained(source.folder, local_files_only=True)
        model, info = known.from_pretrained(None, config=stated, state_dict=_held(source.used()), **how)
    missing = {*info["missing_keys"]} - source.fresh(model)
    if missing or info["mismatched_keys"]:
        raise InputError(f"{source.path}: transformers does not find {sorted(missing)[:5]}")

    def call(inputs: Any) -> Any:
        named = inputs if isinstance(inputs, dict) else {"image": inputs}
        return model(**{{"image": "pixel_values"}.get(name, name): x for name, x in named.items()})

    return Reference(model, call, f"transformers' {type(model).__name__}")


def _sentence_transformers(source: _Source) -> Reference:
    if not source.is_folders:
        raise InputError("sentence_transformers reads whole folders alone; store activations.npz")
    model = _import("sentence_transformers").SentenceTransformer(
        str(source.folder), device="cpu", local_files_only=True, model_kwargs={"attn_implementation": "eager"}
    )
    model = model.eval()
    inner = next(module for module in model.modules() if isinstance(module, _import("transformers").PreTrainedModel))
    return Reference(inner, lambda inputs: model(dict(inputs)), "sentence_transformers' SentenceTransformer")


def _open_clip(source: _Source) -> Reference:
    name, args = _named("open_clip", source.spec)
    found = _filled(getattr(_import("open_clip"), name)(**args), source, without=SIZES)

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


def _filled(model: Any, source: _Source, without: Sequence[str] = ()) -> Reference:
    fresh, names, used = source.fresh(model), model.state_dict(), source.used()
    given = {name: x for name, x in source.tensors.items() if name in used or name in names}
    given = {name: x for name, x in given.items() if name not in fresh and name not in without}
    try:
        loaded = model.load_state_dict(_held(given), strict=False)
    except RuntimeError as error:
        raise InputError(f"{source.path}: the reference does not take these tensors: {error}") from None
    if wrong := sorted({*loaded.missing_keys, *loaded.unexpected_keys} - fresh):
        raise InputError(f"{source.path}: the reference and the source do not both have {some(wrong)}")
    return Reference(model, model, f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}")


def _held(tensors: Mapping[str, Any]) -> dict[str, Any]:
    torch = _import("torch")
    return {name: torch.from_numpy(np.array(tensor.read())) for name, tensor in tensors.items()}


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
