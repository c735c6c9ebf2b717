"""The devices that a run is planned for: those that are here, or others, by name."""

import math
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from jtransfer.core.errors import InputError
from jtransfer.dry_run import gpus

GIB = gpus.GIB
_TPU = {"v2": 8, "v3": 16, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}  # GiB of a JAX device; v2 and v3 have two a chip
_CORES = ("v2", "v3", "v4", "v5p")  # whose names count cores, of which a chip has two
_NAMES = {"v5litepod": "v5e", "v5lite": "v5e"}
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_QUIET = {  # libtpu looks for a TPU's own server, which is not there, and says so
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "4",
    "TPU_STDERR_LOG_LEVEL": "4",
}
_FORMS = "give v5e-16, v5e:4x4, v5p:2x2x4, cpu:8 or h100:8"


class Devices(NamedTuple):
    """What a run is planned for.

    Attributes:
      devices: The JAX devices that are compiled for.
      name: What they are called.
      platform: "cpu", "tpu" or "cuda": which of a model's operations are taken.
      limit: The bytes of a device, as far as they are known.
      notes: Lines on what is not exact.
      capability: The compute capability of GPUs that are not here, by which kernels are chosen.
    """

    devices: Any
    name: str
    platform: str
    limit: float | None = None
    notes: tuple[str, ...] = ()
    capability: str | None = None


def begin(topology: str) -> None:
    """Prepares JAX, which must not have been used yet, for a topology of CPU devices, or of others that are not here.

    Args:
      topology: As for `of`.

    Raises:
      InputError: There is no such topology.
    """
    kind, shape = _parsed(topology)
    if kind in ("cpu", *gpus.CHIPS):
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", math.prod(shape))
    elif kind:
        jax.config.update("jax_platforms", "cpu")
        os.environ.update({key: os.environ.get(key, value) for key, value in _QUIET.items()})


def of(topology: str) -> Devices:
    """Returns the devices of a topology.

    Args:
      topology: "" is the devices that are here; "v5e-16" or "v5litepod-16", as Cloud TPU calls a slice; "v5e:4x4", its
        shape; "cpu:8" or "h100:8", a kind and a number.

    Raises:
      InputError: There is no such topology, what knows it is not installed, or JAX has begun with other devices.
    """
    kind, shape = _parsed(topology)
    if not kind:
        here = jax.devices()
        platform = "cuda" if here[0].platform == "gpu" else here[0].platform
        told = here[0].memory_stats() or {}
        return Devices(here, f"{len(here)} × {here[0].device_kind}", platform, told.get("bytes_limit"))
    if kind in _TPU:
        return _tpu(kind, shape)
    number = math.prod(shape)
    if kind != "cpu" and (found := gpus.devices(kind, number)) is not None:
        note = f"{kind} is not at hand: its kernels were not timed to choose among them, as it would do"
        capability = gpus.CHIPS[kind].capability
        return Devices(found, f"{number} × {kind}", "cuda", gpus.CHIPS[kind].memory * GIB, (note,), capability)
    here = jax.devices("cpu")
    if len(here) < number:
        raise InputError(
            f"topology={topology}: JAX has begun with {len(here)} CPU devices; call dry_run.begin({topology!r}) before "
            "JAX is used"
        )
    if kind == "cpu":
        return Devices(here[:number], f"{number} × cpu", "cpu")
    note = (
        f"{kind} is not at hand, nor what compiles for it (pip install 'jax[cuda12]'): temporaries are those of the "
        "same program compiled for CPUs, and an estimate"
    )
    return Devices(here[:number], f"{number} × {kind}", "cuda", gpus.CHIPS[kind].memory * GIB, (note,))


def _tpu(kind: str, shape: tuple[int, ...]) -> Devices:
    from jax.experimental import topologies

    name = f"{kind}:{'x'.join(map(str, shape))}"
    megacore: Mapping[str, str] = {"chip_config_name": "megacore"} if kind == "v4" else MappingProxyType({})
    try:
        found = topologies.get_topology_desc(topology_name=name, platform="tpu", **megacore).devices
    except (ImportError, RuntimeError, NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"topology={name} can't be compiled for here ({reason:.200}); pip install libtpu, or give another one"
        ) from None
    return Devices(found, f"{len(found)} × {found[0].device_kind} ({name})", "tpu", _TPU[kind] * GIB)


def _parsed(topology: str) -> tuple[str, tuple[int, ...]]:
    """The kind and the shape that a topology names."""
    if not topology:
        return "", ()
    match = re.fullmatch(r"(\w+?)([:-])(\d{1,5}(?:x\d{1,4}){0,2})", topology.lower())
    kind = _NAMES.get(match[1], match[1]) if match else ""
    if not match or kind not in (*_TPU, *gpus.CHIPS, "cpu"):
        raise InputError(
            f"topology={topology!r} is not known; {_FORMS}; kinds: {', '.join((*_TPU, *gpus.CHIPS, 'cpu'))}"
        )
    shape = tuple(map(int, match[3].split("x")))
    if kind in _TPU and len(shape) == 1:
        shape = _chips(topology, kind, shape[0])
    if not all(shape) or (kind not in _TPU and (len(shape) > 1 or match[2] == "-")):
        raise InputError(f"topology={topology!r} has no such number of devices; {_FORMS}")
    return kind, shape


def _chips(topology: str, kind: str, number: int) -> tuple[int, ...]:
    """The shape of a slice of so many chips, or, where its name counts them, cores."""
    chips = number // 2 if kind in _CORES else number
    if kind in ("v4", "v5p") and chips >= 4 and not chips & (chips - 1):
        doublings = int(math.log2(chips)) - 2
        sides = sorted(2 ** (base + (doublings + i) // 3) for i, base in ((0, 1), (1, 1), (2, 0)))
        return tuple(sides if sides[0] > 1 else [*sides[1:], 1])
    if kind not in ("v4", "v5p") and chips in _FLAT:
        return tuple(map(int, _FLAT[chips].split("x")))
    raise InputError(f"topology={topology!r}: there is no such slice by number; give its shape, as {kind}:4x4")
