"""KerasHub's `.lora.h5`: factors of the kernels of query and value, by the numbers of layers alone.

The file names no layer, so the order tells it: query and value of each attention, as the model calls them, which is
what `enable_lora` adapts. A kernel by head, [inputs, heads, size] or [heads, inputs, size], has a first factor for each
head and one second factor for all; here that is one adapter of `heads` times the rank. It says nothing of alpha, which
is the rank where nobody asked for another one.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import FIXED, Site
from jtransfer.weights import formats
from jtransfer.weights.formats.lazy import read

_FACTOR = re.compile(r"(?:lora/)?(\d{1,6})/(?:vars/)?lora_kernel_(a|b)")
_RANK = re.compile(r"(?:lora/)?(?:vars/)?rank")
_TARGETS = re.compile(r"(.*)/(query|value)")

Own = dict[str, Any]


def load(file: str, sites: Mapping[str, Site]) -> list[tuple[str, str, Own]]:
    """Returns (path, method, arrays) of the adapters in a file.

    Args:
      file: its path.
      sites: of the model; see `peft.sites`.

    Raises:
      InputError: it is damaged, or not of such a model.
    """
    tensors = formats.open(file)
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        hit = _FACTOR.fullmatch(name)
        if hit:
            found.setdefault(int(hit[1]), {})[hit[2]] = np.asarray(read(tensor), np.float32)
        elif not _RANK.fullmatch(name):
            raise InputError(f"{file}: {name!r} is none of the factors of KerasHub's LoRA")
    if odd := [number for number, pair in found.items() if pair.keys() != {"a", "b"}]:
        raise InputError(f"{file}: layer {odd[0]} has one of its two factors alone")
    targets = _targets(sites)
    if len(found) != len(targets):
        raise InputError(
            f"{file}: it has factors of {len(found)} layers, and the model has {len(targets)} of query and value, "
            "which are what KerasHub adapts"
        )
    pairs = zip(targets, (found[number] for number in sorted(found)), strict=True)
    return [(site.path, "lora", _own(file, site, pair["a"], pair["b"])) for site, pair in pairs]


def _targets(sites: Mapping[str, Site]) -> list[Site]:
    """The queries and values, those of one attention together."""
    chosen = [site for path, site in sites.items() if site.leaf and _TARGETS.fullmatch(path)]
    around = list(dict.fromkeys(site.path.rpartition("/")[0] for site in chosen))
    return sorted(chosen, key=lambda site: (around.index(site.path.rpartition("/")[0]), site.path))


def _own(file: str, site: Site, a: np.ndarray, b: np.ndarray) -> Own:
    (inputs,), outputs = site.inputs, int(np.prod(site.outputs))
    rank = a.shape[-1] if a.ndim else 0
    if b.ndim != 2 or len(b) != rank or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise _misfit(file, site, a, b)
    fixed = {FIXED: {"scale": np.float32(1)}}
    if a.shape == (inputs, rank) and b.shape == (rank, outputs):
        return {"a": a, "b": b.reshape(rank, *site.outputs), **fixed}
    size = b.shape[1]
    forms = [a] if a.ndim == 3 and a.shape[0] == inputs else []
    forms += [a.transpose(1, 0, 2)] if a.ndim == 3 and a.shape[1] == inputs else []
    forms = [form for form in forms if form.shape[1] * size == outputs]
    if len(forms) != 1:
        raise _misfit(file, site, a, b)
    heads = forms[0].shape[1]
    wide = np.einsum("hg,rs->hrgs", np.eye(heads, dtype=np.float32), b).reshape(heads * rank, *site.outputs)
    return {"a": forms[0].reshape(inputs, heads * rank), "b": wide, **fixed}


def _misfit(file: str, site: Site, a: np.ndarray, b: np.ndarray) -> InputError:
    return InputError(
        f"{file}: factors of {list(a.shape)} and {list(b.shape)} can't be those of {site.path}, whose kernel is "
        f"{list(site.shape)}"
    )
