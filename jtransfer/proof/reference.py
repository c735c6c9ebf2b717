"""The model of a library of torch's that a checkpoint is for, run live.

The library is given what was read here, tensors and the content of config files, and never the folder: it would follow
what the files there name, which may be code, other files or other repositories.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.proof import traces
from jtransfer.proof.inert import inert
from jtransfer.weights import Checkpoint, ModelSpec, maps, subtree
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
    def config(self) -> Mapping[str, Any]:
        return inert(self.checkpoint.configs.get("config.json", {}))

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
    build, source = _builder(report.scheme, checkpoint.configs), _Source(checkpoint, network, spec, report)
    try:
        reference = build(source)
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


def _builder(scheme: str, files: Mapping[str, Any]) -> Callable[[_Source], Reference]:
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


def _timm(source: _Source) -> Reference:
    timm, spec = _import("timm"), source.spec
    names = (name.split(".")[0] for name in (*spec.aliases, spec.name))
    known = [name for name in names if timm.is_model(name)]
    name, args = (known[0], _arguments(spec, source.config)) if known else _named("timm", spec)
    args |= {"num_classes": spec.model.num_classes, "pretrained": False}
    return _filled(timm.create_model(name, **args), source)


def _arguments(spec: ModelSpec, config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of timm's arguments in a config.json that change the model; none of them names a file or an address."""
    table = getattr(maps.family(spec.model), "TIMM", {})
    stated = config.get("model_args") or {}
    return {key: value for key, value in stated.items() if key in table or key in ("in_chans", "ls_init_value")}


def _timm_of_jax(source: _Source) -> Reference:
    """timm reads the .npz files of ViT-AugReg and big_vision itself, with numpy, which does not unpickle."""
    timm = _import("timm")
    name, args = _named("timm", source.spec)
    model = timm.create_model(name, **args | {"num_classes": source.spec.model.num_classes, "pretrained": False})
    model.load_pretrained(str(source.checkpoint.path))
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


def _transformers(source: _Source, called: str = "") -> Reference:
    """A model of transformers.

    Args:
      source: as for all.
      called: the class; by default the one that config.json names.
    """
    transformers = _import("transformers")
    stated = [called] if called else source.config.get("architectures") or _class_of(source.spec)
    known = getattr(transformers, str(stated[0]), None)
    if not (isinstance(known, type) and issubclass(known, transformers.PreTrainedModel)):
        raise InputError(f"transformers has no class {stated[0]!r}, which config.json names; store activations.npz")
    model, info = known.from_pretrained(
        None,
        config=known.config_class.from_dict(dict(source.config)),
        state_dict=_held(source.tensors),
        output_loading_info=True,
        attn_implementation="eager",
        dtype="float32",
        local_files_only=True,
        trust_remote_code=False,
    )
    missing = {*info["missing_keys"]} - source.fresh(model)
    if missing or info["mismatched_keys"]:
        raise InputError(f"{source.checkpoint.path}: transformers does not find {sorted(missing)[:5]}")

    def call(inputs: Any) -> Any:
        named = inputs if isinstance(inputs, dict) else {"image": inputs}
        return model(**{{"image": "pixel_values"}.get(name, name): x for name, x in named.items()})

    return Reference(model, call, f"transformers' {type(model).__name__}")


def _class_of(spec: ModelSpec) -> list[str]:
    """The `architectures` of a model in transformers."""
    return maps.family(spec.model).transformers(spec.model)["architectures"]


def _sentence_transformers(pooling: tuple[str, bool], source: _Source) -> Reference:
    """transformers' model with the pooling and the normalisation of sentence-transformers after it."""
    package, spec = _import("sentence_transformers"), source.spec
    since_6 = importlib.util.find_spec("sentence_transformers.sentence_transformer")
    modules = importlib.import_module(f"{package.__name__}.{'sentence_transformer.modules' if since_6 else 'models'}")
    encoder, (mode, normalize) = _transformers(source, _class_of(spec)[0]), pooling
    after = [modules.Pooling(spec.model.width, pooling_mode=mode), *([modules.Normalize()] if normalize else [])]

    def call(inputs: Any) -> Any:
        found = {"token_embeddings": encoder.call(inputs)[0], "attention_mask": inputs["attention_mask"]}
        for module in after:
            found = module(found)
        return found

    named = " and ".join(["Pooling", *(["Normalize"] if normalize else [])])
    return Reference(encoder.module, call, f"sentence_transformers' {named} of {encoder.name}")


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
        raise InputError(f"{source.checkpoint.path}: the reference does not take these tensors: {error}") from None
    if wrong := sorted({*loaded.missing_keys, *loaded.unexpected_keys} - fresh):
        raise InputError(f"{source.checkpoint.path}: the reference and the source do not both have {some(wrong)}")
    return Reference(model, model, f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}")


def _held(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint as torch's; numbers that numpy does not know become float32."""
    torch = _import("torch")
    arrays = {name: np.array(tensor.read()) for name, tensor in tensors.items()}
    own = {name: x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.num > 255 else x for name, x in arrays.items()}
    return {name: torch.from_numpy(x) for name, x in own.items()}


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
