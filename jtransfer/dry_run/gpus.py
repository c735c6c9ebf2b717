"""NVIDIA GPUs that are not here, for which XLA compiles where JAX's CUDA plugin is installed."""

from typing import Any, NamedTuple

from jtransfer.core.errors import InputError

GIB, HOST = 2**30, 8  # HOST: GPUs of a machine

UNTIMED = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
"""The compiler's options where no GPU is there to time kernels on: products of matrices are cuBLAS's, as they mostly
are where the fastest is chosen."""


class Chip(NamedTuple):
    """What XLA asks of a GPU.

    Attributes:
      memory: Its memory in GiB.
      capability: CUDA's compute capability.
      cores: The number of multiprocessors.
      clock: Their clock in GHz.
      bandwidth: Of its memory, in GB/s.
      cache: The second-level cache in MiB.
      shared: The memory that a multiprocessor's threads share, in KiB.
      threads: The most that run on a multiprocessor.
      lanes: The float32 units of a multiprocessor.
    """

    memory: int
    capability: str
    cores: int
    clock: float
    bandwidth: int
    cache: int
    shared: int = 228
    threads: int = 2048
    lanes: int = 128


CHIPS = {
    "v100": Chip(16, "7.0", 80, 1.53, 900, 6, 96, 2048, 64),
    "t4": Chip(16, "7.5", 40, 1.59, 320, 4, 64, 1024, 64),
    "a100": Chip(40, "8.0", 108, 1.41, 1555, 40, 164, 2048, 64),
    "a10g": Chip(24, "8.6", 80, 1.71, 600, 6, 100, 1536),
    "l4": Chip(24, "8.9", 58, 2.04, 300, 48, 100, 1536),
    "l40s": Chip(48, "8.9", 142, 2.52, 864, 96, 100, 1536),
    "h100": Chip(80, "9.0", 132, 1.98, 3352, 50),
    "h200": Chip(141, "9.0", 132, 1.98, 4800, 50),
    "b200": Chip(180, "10.0", 148, 1.97, 8000, 126),
}
"""Kind → what it is, by NVIDIA's data sheets. The A100 is that with 40 GB, the V100 that with 16."""


def devices(kind: str, number: int) -> Any:
    """Returns JAX devices that stand for so many GPUs, for compiling only; None without JAX's CUDA plugin.

    Args:
      kind: A key of `CHIPS`.
      number: How many there are, in machines of 8 where that divides it.

    Raises:
      InputError: The plugin is there, and says why it can't compile for them.
    """
    from jax.experimental import topologies

    hosts = number // HOST if number > HOST and number % HOST == 0 else 1
    try:
        found = topologies.get_topology_desc(
            platform="cuda", target_config=_described(kind), topology=f"1x{hosts}x{number // hosts}"
        )
    except NotImplementedError:
        return None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"topology={kind}:{number}: JAX's CUDA plugin can't compile for it ({reason:.200}); pip install -U "
            "'jax[cuda12]', or uninstall the plugin for an estimate"
        ) from None
    return found.devices


def _described(kind: str) -> str:
    """A chip in the text form of XLA's protocol buffer GpuTargetConfigProto."""
    chip = CHIPS[kind]
    major, minor = chip.capability.split(".")
    info = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_core": chip.shared * 1024,
        "shared_memory_per_block_optin": (chip.shared - (chip.shared > 96)) * 1024,
        "threads_per_core_limit": chip.threads,
        "core_count": chip.cores,
        "fpus_per_core": chip.lanes,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "memory_bandwidth": chip.bandwidth * 10**9,
        "l2_cache_size": chip.cache * 2**20,
        "clock_rate_ghz": chip.clock,
        "device_memory_size": chip.memory * GIB,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
    }
    told = " ".join(f"{name}: {value}" for name, value in info.items())
    capability = f"cuda_compute_capability {{ major: {major} minor: {minor} }}"
    version = "dnn_version_info { major: 9 minor: 10 patch: 0 }"
    return f'gpu_device_info {{ {told} {capability} }} platform_name: "CUDA" {version} device_description_str: "{kind}"'
