"""The names of tensors in a PEFT file: the module, the kind of tensor, and what other versions put in between."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError

PREFIXES = ("base_model.model.", "base_model.")
_OF_LORA = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
KINDS: dict[str, tuple[str, ...]] = {  # of PEFT's types, the kinds of tensors
    "LORA": (*_OF_LORA, "lora_magnitude_vector"),
    "ADALORA": (*_OF_LORA, "lora_E"),
    "IA3": ("ia3_l",),
    "VERA": ("vera_lambda_b", "vera_lambda_d"),
    "LOHA": tuple(f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    "LOKR": tuple(f"lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    "OFT": ("oft_R", "oft_embedding_R"),
    "BOFT": ("boft_R", "boft_s"),
    "FOURIERFT": ("fourierft_spectrum",),
    "RANDLORA": ("randlora_lambda", "randlora_gamma"),
}
SHARED = {  # of PEFT's types, the tensors that all modules share
    "VERA": ("vera_A", "vera_B"),
    "RANDLORA": ("randlora_A", "randlora_B"),
}
WEIGHT = ("lora_A", "lora_B", "oft_R", "oft_embedding_R")  # modules of torch in the file, so that ".weight" ends them
_BETWEEN = re.compile(r"\.(base_layer|modules_to_save(\.[^.]+)?|ln_tuning_layers(\.[^.]+)?)(?=\.)")


class Parts(NamedTuple):
    """The tensors of a file.

    Attributes:
      modules: of each module's adapter, by the module's name, then by kind, such as "lora_A".
      shared: of all modules, by their whole names.
      beside: those of the model's own parameters that come with the adapter, by the library's names.
    """

    modules: dict[str, dict[str, Any]]
    shared: dict[str, Any]
    beside: dict[str, Any]


def sort(tensors: Mapping[str, Any], kind: str, where: str) -> Parts:
    """Returns the tensors of a file by what they are.

    Args:
      tensors: by name.
      kind: PEFT's type of the adapter.
      where: the file, for errors.

    Raises:
      InputError: two names mean the same.
    """
    kinds = KINDS.get(kind, ())
    inside = re.compile(rf"(.+)\.({'|'.join(kinds)})(?:\.[^.]+)??(?:\.weight)?") if kinds else None
    parts = Parts({}, {}, {})
    for name, tensor in tensors.items():
        bare = _bare(name)
        hit = inside.fullmatch(bare) if inside else None
        if bare in SHARED.get(kind, ()):
            place, key = parts.shared, f"base_model.{bare}"
        elif hit:
            place, key = parts.modules.setdefault(hit[1], {}), hit[2]
        elif any(bare.endswith(f".{name}") for name in SHARED.get(kind, ())):
            continue  # each module's copy of what all share
        else:
            place, key = parts.beside, _BETWEEN.sub("", bare)
        if key in place:
            raise InputError(f"{where}: two tensors are {name!r}; it holds more than one adapter, save one alone")
        place[key] = tensor
    return parts


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def written(module: str, kind: str) -> str:
    """Returns the name that a tensor of a module's adapter has in a file."""
    return f"{PREFIXES[0]}{module}.{kind}" + ".weight" * (kind in WEIGHT)
