"""FourierFT (Gao et al. 2024, arXiv:2405.03003): the change is the inverse Fourier transform of a few frequencies."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.peft import features, fields, layer, matrix, torch_form, torch_random
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(
    key: Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    n_frequency: int | None = None,
    scaling: float = 150.0,
    seed: int = 777,
) -> dict[str, Any]:
    """The adapter of one layer: `spectrum` [n_frequency], zeros.

    Args:
      key, params: not needed.
      site: the layer.
      n_frequency: how many frequencies are trained; None means 1000 or, of a smaller kernel, all.
      scaling: what the change is multiplied by.
      seed: tells which frequencies; it tells the same ones as in Hugging Face's PEFT.
    """
    del key, params
    fields.number("scaling", scaling)
    fields.seed(seed)
    size = math.prod(site.shape)
    n_frequency = min(1000, size) if n_frequency is None else n_frequency
    fields.whole("n_frequency", n_frequency)
    if n_frequency > size:
        raise InputError(f"adapters: n_frequency={n_frequency} is more than the {size} numbers of {site.path}'s kernel")
    places = jnp.asarray(torch_random.permutation(seed, size, n_frequency))
    fixed = {"places": places, "seed": jnp.uint32(seed), "scale": jnp.float32(scaling), **matrix.marks(site)}
    return {"spectrum": jnp.zeros(n_frequency), FIXED: fixed}


def apply(module: Any, own: Mapping[str, Any], call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, and beside it the path through the change."""
    y = call(x, *args, **kwargs)
    change = delta(own, features.kernel(module).shape)
    return y + layer.run(module, change, x, *args, **kwargs).astype(y.dtype)


def delta(own: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    """What the adapter adds to a kernel of a shape."""
    fixed = own[FIXED]
    rows, columns = matrix.size(fixed, shape)
    column, row = jnp.divmod(fixed["places"], rows)  # places are of PyTorch's matrix [outputs, inputs]
    spectrum = jnp.zeros((rows, columns)).at[row, column].set(own["spectrum"].astype(jnp.float32))
    return matrix.back(jnp.fft.ifft2(spectrum).real * fixed["scale"], fixed, shape)


def serves(site: Site) -> str:
    """Why a module can't be adapted, or ""."""
    return "a table of embeddings has no frequencies; use lora or vera" if site.kind == "embed" else linear(site)


PEFT = "FOURIERFT"


def to_peft(
    own: Mapping[str, Any], site: Site, widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """PEFT's tensor of the module, and settings."""
    del widest
    torch_form.check(site, "FourierFT", "dense")
    fixed, spectrum = own[FIXED], np.asarray(own["spectrum"], np.float32)
    settings = {"scaling": float(fixed["scale"]), "random_loc_seed": int(fixed["seed"])}
    return {"fourierft_spectrum": spectrum}, {"n_frequency": len(spectrum), **settings}


def from_peft(tensors: Mapping[str, Any], site: Site, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter that PEFT's tensor of a module is."""
    torch_form.check(site, "FourierFT", "dense")
    count, seed, size = settings["n_frequency"], settings["random_loc_seed"] % 2**32, math.prod(site.shape)
    if count > size:
        raise InputError(f"n_frequency={count} is more than the {size} numbers of the layer's kernel")
    spectrum = torch_form.take(tensors, "fourierft_spectrum", count)
    fixed = {"seed": np.asarray(seed, np.uint32), "scale": np.asarray(settings["scaling"], np.float32)}
    fixed |= {name: np.asarray(mark) for name, mark in matrix.marks(site).items()}
    return {"spectrum": spectrum, FIXED: {**fixed, "places": torch_random.permutation(seed, size, count)}}


METHOD = Method(init, apply, serves, *features.added(delta), delta=delta, scale=features.scaled)
