"""LoRA, DoRA and AdaLoRA between PEFT's tensors and the layers here: `ΔW = scale · B A`, whatever the form of `W`.

A module that is several layers here, as fused query, key and value, gives each of them its `A` and the rows of `B` that
are theirs. The other way, ranks add up: the `A` are stacked, and `B` is block diagonal; layers that share one `a` share
it there, too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import FIXED
from jtransfer.peft.factors import over_all_channels
from jtransfer.weights.adapters.config import Config, of_module
from jtransfer.weights.adapters.modules import Module, Part

Own = dict[str, Any]
_DORA = "lora_magnitude_vector"


def read(config: Config, module: Module, tensors: Mapping[str, np.ndarray]) -> list[tuple[Part, str, Own]]:
    """Returns (layer, method, arrays) of the adapters of one module.

    Args:
      config: what the adapter_config.json says.
      module: the module.
      tensors: of it, by the names of their kinds, as "lora_A".

    Raises:
      InputError: there are too few or too many, or a shape does not fit.
    """
    first, second = ("lora_embedding_A", "lora_embedding_B") if "lora_embedding_A" in tensors else ("lora_A", "lora_B")
    ada = ("lora_E",) if config.type == "ADALORA" else ()
    dora = (_DORA,) if config.fields.get("use_dora") else ()
    wanted = {first, second, *ada, *dora}
    if tensors.keys() != wanted:
        odd = sorted(tensors.keys() ^ wanted)
        raise InputError(f"{config.where}: {module.name} has {', '.join(sorted(tensors))}; {odd[0]} does not fit that")
    a, b = tensors[first], tensors[second]
    if module.parts[0].site.groups > 1 and a.ndim > 2:
        return [_in_groups(config, module, a, b)]
    rank = a.shape[0] if a.ndim else 0
    stated = rank if ada else of_module(config, "rank_pattern", config.fields["r"], module.name)
    _check(config, module, first, a, (rank, *_ins(module)), rank == stated, f"rank {stated}")
    _check(config, module, second, b, (module.outputs, rank))
    a, b = a.reshape(rank, module.inputs), b.reshape(module.outputs, rank)
    fixed, found = _fixed(config, module.name, rank), []
    for part in module.parts:
        own: Own = {"a": np.moveaxis(a[:, part.inputs], 0, -1), "b": np.moveaxis(b[part.outputs], -1, 0)}
        own[FIXED] = dict(fixed)
        method = "lora"
        if ada:
            own["e"], method = tensors["lora_E"].reshape(rank), "adalora"
            _check(config, module, "lora_E", tensors["lora_E"], (rank, 1))
        if dora:
            _check(config, module, _DORA, tensors[_DORA], (module.outputs,))
            own["magnitude"], method = tensors[_DORA].reshape(-1)[part.outputs], "dora"
        found.append((part, method, own))
    return found


def _fixed(config: Config, name: str, rank: int) -> dict[str, np.float32]:
    dropout = config.fields["lora_dropout"]
    return {"scale": np.float32(_scale(config, name, rank))} | ({"dropout": np.float32(dropout)} if dropout else {})


def _in_groups(config: Config, module: Module, a: np.ndarray, b: np.ndarray) -> tuple[Part, str, Own]:
    """The adapter of a convolution in groups, whose `A` has all input channels in PEFT, and `B` a group's rank."""
    (part,), rank = module.parts, a.shape[0]
    groups, stated = part.site.groups, of_module(config, "rank_pattern", config.fields["r"], module.name)
    if config.type != "LORA" or config.fields["use_dora"]:
        raise InputError(f"{config.where}: {module.name} is a convolution in groups, for which LoRA alone is read")
    channels = part.site.inputs[-1] * groups
    _check(config, module, "lora_A", a, (rank, channels, *module.shape[2:]), rank == stated, f"rank {stated}")
    _check(config, module, "lora_B", b, (module.outputs, rank // groups), rank % groups == 0)
    own = {"a": np.moveaxis(a, (0, 1), (-1, -2)), "b": b.reshape(module.outputs, -1).T}
    return part, "lora", {**own, FIXED: _fixed(config, module.name, rank)}


def _scale(config: Config, name: str, rank: int) -> float:
    alpha = of_module(config, "alpha_pattern", config.fields["lora_alpha"], name)
    if config.type == "ADALORA":
        return (alpha if alpha > 0 else rank) / (rank + 1e-5)
    return alpha / (math.sqrt(rank) if config.fields["use_rslora"] else rank)


def _ins(module: Module) -> tuple[int, ...]:
    return module.shape[1:] if len(module.shape) > 2 else (module.inputs,)


def _check(
    config: Config,
    module: Module,
    kind: str,
    array: np.ndarray,
    want: tuple[int, ...],
    fits: bool = True,
    also: str = "",
) -> None:
    if not fits or [n for n in array.shape if n > 1] != [n for n in want if n > 1]:
        raise InputError(
            f"{config.where}: {module.name}.{kind} has the shape {list(array.shape)}, where the model and the config "
            f"have {also or f'{list(want)}'}"
        )


def write(module: Module, owns: Sequence[Own | None]) -> tuple[dict[str, np.ndarray], int, float]:
    """Returns PEFT's tensors of one module by the names of their kinds, the rank, and the scale.

    Args:
      module: the module.
      owns: the adapter of each of its layers; None of one that has none.

    Raises:
      InputError: PEFT has no such adapter.
    """
    if module.parts[0].site.groups > 1:
        return _of_groups(module, owns[0] or {})
    pairs = [(part, own) for part, own in zip(module.parts, owns, strict=True) if own is not None]
    factors = [_factors(part, own, module) for part, own in pairs]
    shared = len({a.tobytes() for a, _, _ in factors}) == 1 and len({scale for _, _, scale in factors}) == 1
    if shared:
        a, scale = factors[0][0], factors[0][2]
        b = np.sum([b for _, b, _ in factors], axis=0)
    else:
        a = np.concatenate([a for a, _, _ in factors])
        scale = max((scale for _, _, scale in factors), key=abs)
        b = np.concatenate([b * (own / scale if scale else 1) for _, b, own in factors], axis=1)
    rank = len(a)
    embed = module.parts[0].site.kind == "embed"
    kinds = ("lora_embedding_A", "lora_embedding_B") if embed else ("lora_A", "lora_B")
    tensors: dict[str, np.ndarray] = {kinds[0]: _as_weight(module, a), kinds[1]: _as_column(module, b, rank)}
    if any("magnitude" in own for _, own in pairs):
        tensors[_DORA] = _magnitude(module, pairs)
    return tensors, rank, scale


def _factors(part: Part, own: Own, module: Module) -> tuple[np.ndarray, np.ndarray, float]:
    """A [r, inputs], B [outputs, r] of the module, zeros where other layers are, and the scale."""
    if own[FIXED].get("stacked") is not None:
        raise InputError(f"{part.site.path} is a scan over layers, which is no module of PEFT; adapt its layers apart")
    begun = own[FIXED]
    a, b = np.asarray(own["a"] if "a" in own else begun["a"], np.float32), np.asarray(own["b"], np.float32)
    if "e" in own:
        a = a * np.asarray(own["e"], np.float32)
    if "a_start" in begun:  # what is added is a·b less what that was at the start
        a = np.concatenate([a, begun["a_start"]], axis=-1)
        b = np.concatenate([b, -np.asarray(begun["b_start"])], axis=0)
    wide = np.zeros((a.shape[-1], module.inputs), np.float32)
    wide[:, part.inputs] = np.moveaxis(a, -1, 0)
    tall = np.zeros((module.outputs, b.shape[0]), np.float32)
    tall[part.outputs] = np.moveaxis(b, 0, -1)
    return wide, tall, float(begun["scale"])


def _of_groups(module: Module, own: Own) -> tuple[dict[str, np.ndarray], int, float]:
    """The tensors of a convolution in groups: `A` over all input channels, zero where they are of another group."""
    site, fixed = module.parts[0].site, own[FIXED]
    a, b = np.asarray(own["a"] if "a" in own else fixed["a"], np.float32), np.asarray(own["b"], np.float32)
    if "e" in own or "magnitude" in own or "a_start" in fixed:
        raise InputError(f"{site.path} is a convolution in groups, of which plain LoRA alone is written for PEFT")
    if a.shape[-2] == site.inputs[-1]:
        a, b = map(np.asarray, over_all_channels(jnp.asarray(a), jnp.asarray(b), site.groups))
    count = len(b)
    tensors = {"lora_A": np.moveaxis(a, (-1, -2), (0, 1)), "lora_B": _as_column(module, b.T, count)}
    return tensors, a.shape[-1], float(fixed["scale"])


def _as_weight(module: Module, a: np.ndarray) -> np.ndarray:
    return a.reshape(len(a), *module.shape[1:]) if len(module.shape) > 2 else a


def _as_column(module: Module, b: np.ndarray, rank: int) -> np.ndarray:
    return b.reshape(-1, rank, *(1,) * (len(module.shape) - 2)) if len(module.shape) > 2 else b


def _magnitude(module: Module, pairs: Sequence[tuple[Part, Own]]) -> np.ndarray:
    if len(pairs) != len(module.parts) or any("magnitude" not in own for _, own in pairs):
        raise InputError(f"{module.name} is one module in PEFT, and DoRA is on some of its layers alone; adapt all")
    found = np.zeros(module.outputs, np.float32)
    for part, own in pairs:
        found[part.outputs] = own["magnitude"]
    conv = len(module.shape) > 2
    return found.reshape(1, -1, *(1,) * (len(module.shape) - 2)) if conv else found
