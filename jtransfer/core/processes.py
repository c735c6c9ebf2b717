"""Which of the processes of a cluster this one is, where nothing but flags tells it: on plain machines."""

import re
from typing import NamedTuple

from jtransfer.core.errors import InputError


class Process(NamedTuple):
    """One of several processes, with the names of the arguments of `jax.distributed.initialize`."""

    coordinator_address: str
    num_processes: int
    process_id: int


def of_flags(coordinator: str, processes: int | None, process_id: int | None) -> Process | None:
    """Returns the process that `--coordinator`, `--processes` and `--process_id` name; None if none of them is given.

    Args:
      coordinator: The host and a free port of process 0, as "10.0.0.1:8476", which all processes reach.
      processes: How many processes there are.
      process_id: The number of this one, from 0 on.

    Raises:
      InputError: One is missing, or they do not fit each other.
    """
    given = {"coordinator": coordinator or None, "processes": processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator == "" or processes is None or process_id is None:
        raise InputError(
            f"--{missing[0]} is missing: --coordinator=HOST:PORT --processes=N --process_id=0 … N-1 are given together"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or "://" in host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator={coordinator}: give the host and a free port of process 0, as 10.0.0.1:8476")
    if processes < 1 or not 0 <= process_id < processes:
        raise InputError(f"--process_id={process_id} of --processes={processes}: give 0 to the number of processes - 1")
    return Process(coordinator, processes, process_id)
