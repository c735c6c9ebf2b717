"""Gives back to the system what a compilation leaves behind of its memory."""

import ctypes
from functools import cache

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.5  # seconds of a compilation that leaves enough to be worth the milliseconds of giving it back


@cache
def give_back_after_compiling() -> None:
    """Registers with JAX that free memory goes back to the system after each compilation of half a second or more.

    XLA compiles on the host whatever the device is, in hundreds of megabytes that it frees again. glibc keeps them for
    what is small, which a training step on a CPU is not: it would be added to them. With other C libraries nothing is
    registered. To call it again does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return

    def compiled(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs >= _LONG:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
