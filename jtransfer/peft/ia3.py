"""IA3 (Liu et al. 2022, arXiv:2205.05638): each output, or each input, of a layer times a factor of its own.

The paper adapts the outputs of keys and values, and the inputs of the second layer of each feed-forward block.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.peft import features, fields, torch_form
from jtransfer.peft.method import Method, Site, linear


def init(key: jax.Array, site: Site, params: Mapping[str, Any], *, on: str = "output") -> dict[str, Any]:
    """The adapter of one layer: ones, `output` [*outputs]; or `input` [*inputs], of a convolution `channels` [inputs].

    Args:
      key, params: not needed.
      site: the layer.
      on: "output", or "input".
    """
    del key, params
    if on not in ("output", "input"):
        raise InputError(f"adapters: on={on!r} must be 'output' or 'input'")
    if on == "output":
        return {"output": jnp.ones(site.outputs)}
    if why := features.ordered(site) or ("its inputs are names of rows" if site.kind == "embed" else ""):
        raise InputError(f"adapters: on='input' can't serve {site.path}: {why}")
    return (
        {"channels": jnp.ones(site.inputs[-1] * site.groups)}
        if site.kind == "conv"
        else {"input": jnp.ones(site.inputs)}
    )


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, with the factors before or behind it."""
    if "output" in own:
        y = call(x, *args, **kwargs)
        return y * own["output"].astype(y.dtype)
    factors = own["channels"] if "channels" in own else features.beside(module, own["input"], x.ndim)
    return call(x * factors.astype(x.dtype), *args, **kwargs)


def merge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the layer with the factors in its kernel and, of the outputs, its bias."""
    return _changed(own, params, jnp.multiply)


def unmerge(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `merge`."""
    return _changed(own, params, lambda x, factors: x / fields.divisor("factor of ia3", factors))


def _changed(own: Mapping[str, Any], params: Mapping[str, Any], by: Any) -> dict[str, Any]:
    leaf = "embedding" if "embedding" in params else "kernel"
    changed = {**params, leaf: by(params[leaf], _of_kernel(own, params[leaf]))}
    if "output" in own and "bias" in params:
        changed["bias"] = by(params["bias"], own["output"])
    return changed


def _of_kernel(own: Mapping[str, Any], kernel: Array) -> Array:
    if "output" in own:
        return own["output"]
    if "input" in own:
        return own["input"].reshape(own["input"].shape + (1,) * (kernel.ndim - own["input"].ndim))
    *_, channels, outputs = kernel.shape
    by_group = own["channels"].reshape(-1, channels)
    return jnp.repeat(by_group.T, outputs // len(by_group), axis=1)


PEFT = "IA3"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensors of the module, and whether it is one of its `feedforward_modules`."""
    del widest
    torch_form.check(site, "IA3", "dense", "conv2", "conv3")
    (factors,) = (np.asarray(leaf, np.float32) for name, leaf in own.items() if name in ("output", "input", "channels"))
    dense = (-1, 1) if "output" in own else (1, -1)
    shape = (1, -1, *[1] * (site.contracted - 1)) if site.kind == "conv" else dense
    return {"ia3_l": factors.reshape(shape)}, {"feedforward": "output" not in own}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensors of a module are."""
    torch_form.check(site, "IA3", "dense", "conv2", "conv3")
    inputs, outputs = torch_form.sizes(site)
    if site.kind == "conv":
        window = [1] * (site.contracted - 1)
        name, size = ("channels", site.inputs[-1] * site.groups) if settings["feedforward"] else ("output", outputs)
        return {name: torch_form.take(tensors, "ia3_l", 1, size, *window).reshape(-1)}
    if settings["feedforward"]:
        return {"input": torch_form.take(tensors, "ia3_l", 1, inputs).reshape(site.inputs)}
    return {"output": torch_form.take(tensors, "ia3_l", outputs, 1).reshape(site.outputs)}


METHOD = Method(init, apply, linear, merge, unmerge)
