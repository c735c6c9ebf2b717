"""Machines that are reached by ssh, with GPUs or CPUs: one process on each, of which the first is the coordinator."""

import os
import tempfile
from collections.abc import Sequence

from jtransfer.launching import host, shipping
from jtransfer.launching.command import Job
from jtransfer.launching.doing import Do, do, show

PORT = 8476


def run(
    hosts: Sequence[str], job: Job, shipment: shipping.Shipment, act: Do = do, extra: str = "cuda", tries: int = 3
) -> int:
    """Trains on all machines and prints their logs, one after the other; returns an exit code.

    Args:
      hosts: As ssh takes them; the others reach the first one by this name, but for a user before an @.
      job: What is run.
      shipment: What is sent.
      act: Does commands, or shows them.
      extra: The extra that is installed.
      tries: As for `again.run`.
    """
    flags = (f"--coordinator={hosts[0].rpartition('@')[2]}:{PORT}", f"--processes={len(hosts)}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, host.ARCHIVE)
        if act is not show:
            shipping.write(shipment, path)
        for name in hosts:
            if code := act(["scp", "-q", path, f"{name}:{host.ARCHIVE}"])[0]:
                return code
    for number, name in enumerate(hosts):
        several = (*flags, f"--process_id={number}") if len(hosts) > 1 else ()
        script = host.start(shipment, extra, job.words(*several, tries=tries)).removesuffix(host.follow())
        if code := act(["ssh", name, script])[0]:
            return code
    return logs(hosts, act)


def logs(hosts: Sequence[str], act: Do = do) -> int:
    """Prints the logs of all machines until the run ends; returns the greatest exit code."""
    return max(act(["ssh", name, host.follow()])[0] for name in hosts)


def stop(hosts: Sequence[str], act: Do = do) -> int:
    """Stops the run on all machines, which finish the same step and save it."""
    return max(act(["ssh", name, host.stop()])[0] for name in hosts)
