"""What a compilation frees goes back to the system, and does not add to the memory of the step that is compiled."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
import jax
import jax.numpy as jnp
from jtransfer.core import command

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

heard = []
jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: heard.append(event))
jax.jit(lambda x: x + 1)(jnp.ones(3))
command.set_up_compiler()
before = resident()
parts = [libc.malloc(10_000) for _ in range(30_000)]
for part in parts:
    ctypes.memset(part, 1, 10_000)
for part in parts[:-1]:  # the last one is the end of the heap, and keeps what is before it
    libc.free(part)
left = resident() - before
event = next(event for event in heard if event.endswith("backend_compile_duration"))
jax.monitoring.record_event_duration_secs(event, 0.01)
after_short = resident() - before
jax.monitoring.record_event_duration_secs(event, 2.0)
print(left, after_short, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and needs glibc")
def test_memory_goes_back_after_a_long_compilation():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    left, after_short, after_long = map(float, done.stdout.split())
    assert left > 200
    assert after_short > 200
    assert after_long < 50
