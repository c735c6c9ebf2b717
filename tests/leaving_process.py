"""One of two processes that leave a cluster: `python -m tests.leaving_process PORT RANK CASE`."""

import os
import sys
import time

import jax

from jtransfer.core import cluster


def first_is_gone_before_second_has_said_its_line(rank):
    """Process 1 comes to the service's client when that hangs: it holds its lock while it aborts."""
    if rank == 0:
        time.sleep(0.5)
        os._exit(42)
    write = cluster._write
    cluster._write = lambda line: (write(line), time.sleep(1.5))
    cluster.leave(130, "line")


def first_does_not_wait_as_long_as_second_needs(rank):
    cluster._PATIENCE = 2.0
    if rank == 0:
        cluster.leave(42, "line")
    time.sleep(60)


def second_is_complete_when_first_fails(rank):
    if rank == 0:
        time.sleep(1)
        cluster.leave(2, "line", "a full disk")


def first_is_complete_when_second_fails(rank):
    second_is_complete_when_first_fails(1 - rank)


CASES = {
    function.__name__: function
    for function in (
        first_is_gone_before_second_has_said_its_line,
        first_does_not_wait_as_long_as_second_needs,
        second_is_complete_when_first_fails,
        first_is_complete_when_second_fails,
    )
}

if __name__ == "__main__":
    port, rank = sys.argv[1], int(sys.argv[2])
    place = {"coordinator_address": f"localhost:{port}", "num_processes": 2, "process_id": rank}
    initialize = jax.distributed.initialize
    jax.distributed.initialize = lambda **options: initialize(**place, **options)
    cluster.join({})
    cluster.exchange("there", rank, 60.0)
    CASES[sys.argv[3]](rank)
