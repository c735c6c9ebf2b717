"""How many programs this process has compiled, or read from the cache of compiled ones, since it was first asked."""

import functools

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


def count() -> int:
    """Returns the number of programs."""
    return _counted()[0]


@functools.cache
def _counted() -> list[int]:
    counted = [0]

    def listen(event: str, duration_secs: float, **_: object) -> None:
        counted[0] += event == _EVENT

    jax.monitoring.register_event_duration_secs_listener(listen)
    return counted
