"""What processes do together in threads that run beside the training.

Collective operations are no way to do so: each process must begin them in the same order, and the main threads begin
theirs. So processes tell each other by the key-value store of JAX's coordination service.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any

import jax

_ROOT = "jtransfer-meetings"  # beside the keys that are listened to, for what is said here may be long
_PATIENCE = 3600  # seconds, for the slowest disk; a process that fails or is gone ends the others sooner
_calls = itertools.count()


def together(work: Callable[[], Any]) -> list[Any]:
    """Returns what `work()` gave on each process, as JSON, when all have called this in one thread at a time.

    Raises:
      Exception: What `work()` raised on this process, at once; the others may wait for this one in their `work()`.
      ValueError: It raised something on another one, whose text is this one's.
    """
    if jax.process_count() == 1:
        return [work()]
    call = next(_calls)
    try:
        value = work()
    except Exception as error:
        _say(call, {"error": str(error) or type(error).__name__})
        raise
    _say(call, {"value": value})
    found = _heard(call)
    if failed := next((one["error"] for one in found if "error" in one), None):
        raise ValueError(failed)
    return [one["value"] for one in found]


def _say(call: int, value: Any) -> None:
    state = _state()
    state.client.key_value_set(f"{_ROOT}/{call}/{state.process_id}", json.dumps(value))


def _heard(call: int) -> list[Any]:
    state = _state()
    keys = [f"{_ROOT}/{call}/{rank}" for rank in range(state.num_processes)]
    found = [json.loads(state.client.blocking_key_value_get(key, _PATIENCE * 1000)) for key in keys]
    if call:  # which all have heard, as they are here
        state.client.key_value_delete(f"{_ROOT}/{call - 1}/{state.process_id}")
    return found


def _state() -> Any:
    from jax._src import distributed

    return distributed.global_state
