"""What a checkpoint's own description states of its model, which counts whoever names the model."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jtransfer import models
from jtransfer.core import registry
from jtransfer.core.errors import InputError
from jtransfer.models.chain import HOW
from jtransfer.weights import maps
from jtransfer.weights.checkpoint import Checkpoint
from jtransfer.weights.identify import hf_config, manifest, sidecar_files

_OF_THE_TASK = ("num_classes", "head", "stages", "parent", "name", *HOW)
_FOLLOWED = {"decoder_depth": "depth", "decoder_num_heads": "num_heads", "decoder_mlp_dim": "mlp_dim"}
_FOLLOWED |= {"num_kv_heads": "num_heads"}
_WITHOUT_VALUE = ("head_dim", "query_scale", "head_dropout", "pooling")  # None stands for what other fields say


def fields(checkpoint: Checkpoint, name: str | None = None, given: Collection[str] = ()) -> dict[str, Any]:
    """Returns the fields that the configuration files beside a checkpoint state of its model.

    Args:
      checkpoint: an open checkpoint.
      name: the name of the model where it is given, one of `models.names()` or an address. The files of a model at an
        address may say what they like: what is not understood is left out.
      given: fields that are given whatever the files state. Where `pixels` is, what they state of the preprocessing may
        be what no model here has.

    Raises:
      InputError: the files state what no model here has, or are of another family than the model.
    """
    if name and registry.is_address(name):
        try:
            return hf_config.fields(checkpoint.configs)
        except InputError:
            return {}
    return _of_class(checkpoint, type(models.create(name)) if name else None, given)


def _of_class(checkpoint: Checkpoint, kind: type | None, given: Collection[str]) -> dict[str, Any]:
    files = checkpoint.configs
    family = hf_config.family_of(files)
    if family and kind and not issubclass(kind, family.MODEL):
        called = ", ".join(sidecar_files.names(files))
        raise InputError(
            f"{checkpoint.name}: config.json calls it {called}, which is {family.MODEL.__name__} here, not "
            f"{kind.__name__}; name a model of {family.MODEL.__name__}, or leave the model's name empty"
        )
    stated = hf_config.structure(files, kind)
    try:
        return hf_config.preprocessing(files) | stated
    except InputError:
        if "pixels" not in given:
            raise
    return stated


def differences(
    checkpoint: Checkpoint, model: Any, scheme: str, tensors: Mapping[str, Any]
) -> tuple[tuple[str, Any, Any], ...]:
    """Returns (field, the model's value, the source's value) for each field in which a model is not as its source says.

    The source says it by its `source.json`, or by the configuration files beside it, or by the names of its tensors.
    Fields that the task decides, such as the number of classes, are left out. There are none for a model of a class
    that the package does not have.

    Args:
      checkpoint: an open checkpoint.
      model: the model that it is loaded into.
      scheme: the naming scheme of its tensors.
      tensors: those of its tensors that the model is filled from, by name.

    Raises:
      InputError: as for `fields`.
    """
    if not _is_ours(model):
        return ()
    if checkpoint.manifest:
        stated = _of_manifest(checkpoint.manifest, model)
    else:
        told = {key: value for key, value in _told(checkpoint, model, scheme, tensors).items() if value is not None}
        stated = told | _of_class(checkpoint, type(model), ["pixels"])
    known = {field.name for field in dataclasses.fields(model)} - {*_OF_THE_TASK}
    values = {key: (_value(model, key), value) for key, value in stated.items() if key in known}
    return tuple((key, ours, theirs) for key, (ours, theirs) in values.items() if ours not in (theirs, _UNKNOWN))


def unsure(checkpoint: Checkpoint, model: Any, scheme: str, tensors: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the fields that neither the names of a checkpoint's tensors nor the files beside it tell.

    Args and errors as for `differences`.
    """
    if not _is_ours(model) or checkpoint.manifest:
        return ()
    stated = _of_class(checkpoint, type(model), ["pixels"])
    return tuple(
        key for key, value in _told(checkpoint, model, scheme, tensors).items() if value is None and key not in stated
    )


def _is_ours(model: Any) -> bool:
    return type(model).__module__.startswith(f"{models.__name__}.")


def _told(checkpoint: Checkpoint, model: Any, scheme: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What the names of the tensors tell of a model's fields; None where they can't."""
    if scheme not in [known.name for known in maps.schemes(model)]:
        return {}
    return maps.fields(model, scheme, checkpoint.aliases, tensors)


_UNKNOWN = object()


def _of_manifest(own: Mapping[str, Any], model: Any) -> dict[str, Any]:
    if registry.is_address(own["model"]["name"]):  # a class from elsewhere, which no model of the package is of
        return {}
    made = manifest.create(own["model"]["name"], own["model"]["fields"])
    alike = type(made) is type(model)
    return {field.name: _value(made, field.name) for field in dataclasses.fields(made)} if alike else {}


def _value(model: Any, key: str) -> Any:
    """The value of a field; where None stands for what another field says, that."""
    value = getattr(model, key)
    if value is None and key in _FOLLOWED:
        return getattr(model, _FOLLOWED[key])
    if value is None and key == "eps":  # of models with two kinds of padding
        return 1e-5 if model.symmetric else 1e-3
    return _UNKNOWN if value is None and key in _WITHOUT_VALUE else value
