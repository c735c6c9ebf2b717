"""A program compiled and not run: its memory, work and traffic, and the time of a step where it may be run."""

import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

import jax

from jtransfer.dry_run import collectives, flops, fused, gpus
from jtransfer.layers.cpu import dispatch

_TOO_MUCH = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory")
_USED = re.compile(r"[Uu]sed ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Memory(NamedTuple):
    """The bytes of one device in a program; what it returns in the place of an argument counts once.

    Attributes:
      arguments: What it is given.
      results: What it returns beside its arguments.
      temporaries: What it needs in between: activations and gradients.
      code: The program itself, where a device keeps it beside the data.
      products: What fused products need beside all that, on CPUs.
    """

    arguments: int
    results: int
    temporaries: int
    code: int = 0
    products: int = 0

    @property
    def total(self) -> int:
        """The bytes in all."""
        return sum(self)


class Measured(NamedTuple):
    """What is known of a program.

    Attributes:
      memory: Of one device.
      flops: Of all devices together.
      traffic: Kind of collective operation → how often and how many bytes, of one device.
      run: The compiled program; None where the compiler says that it needs more than the device has.
    """

    memory: Memory
    flops: float
    traffic: Mapping[str, collectives.Traffic]
    run: Any = None


def compiled(program: Any, *arguments: Any) -> Measured:
    """Compiles a program and returns what is known of it.

    Args:
      program: A function from `jax.jit`.
      arguments: Its arguments as `jax.ShapeDtypeStruct`s with shardings.
    """
    traced, device = program.trace(*arguments), next(iter(_devices(arguments)))
    work, absent = flops.count(traced.jaxpr), device.platform == "gpu" and device not in jax.devices()
    try:
        made = traced.lower().compile(compiler_options=gpus.UNTIMED if absent else None)
    except jax.errors.JaxRuntimeError as error:
        if not _TOO_MUCH.search(str(error)):
            raise
        return Measured(_refused(str(error)), work, {})
    stats = made.memory_analysis()
    text = made.as_text()
    code = stats.generated_code_size_in_bytes if device.platform == "tpu" else 0
    results = stats.output_size_in_bytes - stats.alias_size_in_bytes
    temporaries = stats.temp_size_in_bytes
    products = fused.more_than(text, temporaries) if dispatch.on_cpu() else 0
    memory = Memory(stats.argument_size_in_bytes, results, temporaries, code, products)
    return Measured(memory, work, collectives.of_text(text), made)


def _refused(text: str) -> Memory:
    """What the compiler says that a program would need, of which it does not say what for."""
    used = [float(number) * _UNITS[unit] for number, unit, *_ in _USED.findall(text)]
    return Memory(0, 0, int(max(used, default=0)))


def _devices(arguments: Any) -> set[Any]:
    return set.union(*(leaf.sharding.device_set for leaf in jax.tree.leaves(arguments)))


def seconds(run: Callable[..., tuple[Any, Any]], state: Any, batch: Any, steps: int = 3) -> float:
    """Returns the time of a step: the shortest of some, after one that is not looked at.

    Args:
      run: The compiled step, `(state, batch) -> (state, metrics)`, which takes the state's place.
      state: The state that it begins with.
      batch: The batch of all steps.
      steps: How many are timed.
    """
    times = []
    for _ in range(steps + 1):
        begun = perf_counter()
        state, metrics = run(state, batch)
        jax.block_until_ready((state, metrics))
        times.append(perf_counter() - begun)
    return min(times[1:])
