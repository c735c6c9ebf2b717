"""Slices of Cloud TPUs by the gcloud command: made, run on, followed, stopped, deleted."""

import os
import tempfile
import time
from typing import NamedTuple

from jtransfer.core import stopping
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.launching import again, host, shipping
from jtransfer.launching.command import Job
from jtransfer.launching.doing import Do, do, show

_VERSIONS = {"v5litepod": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"}
_VERSION = "tpu-ubuntu2204-base"  # of older ones
_POLL = 30.0  # seconds between looks at a queued resource
_ENDED = ("FAILED", "SUSPENDED")


class Slice(NamedTuple):
    """A slice of a TPU.

    Attributes:
      name: Of it, or of VMs of one host each, separated by commas.
      zone: As "us-central2-b".
      type: As "v5litepod-16"; needed to make it.
      version: Of the software of its VMs; "" is that for its type.
      spot: Whether it may be taken away, and costs less.
      queued: Whether it is asked for by a queued resource, which waits until there is one.
      project: Of Google Cloud; "" is gcloud's own.
    """

    name: str
    zone: str
    type: str = ""
    version: str = ""
    spot: bool = False
    queued: bool = False
    project: str = ""


def create(tpu: Slice, act: Do = do) -> int:
    """Makes a slice, and waits until it is up; returns an exit code.

    Raises:
      InputError: It is not said of what type.
    """
    if not tpu.type:
        raise InputError("give the type of the slice: --type=v5litepod-16")
    version = tpu.version or _VERSIONS.get(tpu.type.rpartition("-")[0], _VERSION)
    spot = ["--spot"] if tpu.spot else []
    if not tpu.queued:
        made = ["create", tpu.name, f"--accelerator-type={tpu.type}", f"--version={version}", *spot]
        return act(_gcloud(tpu, "tpu-vm", *made))[0]
    made = ["create", tpu.name, f"--node-id={tpu.name}", f"--accelerator-type={tpu.type}"]
    code, _ = act(_gcloud(tpu, "queued-resources", *made, f"--runtime-version={version}", *spot))
    return code or _wait(tpu, act)


def _wait(tpu: Slice, act: Do) -> int:
    """Waits until a queued resource is there."""
    before = ""
    while True:
        words = _gcloud(tpu, "queued-resources", "describe", tpu.name, "--format=value(state.state)")
        code, state = act(words, read=True)
        state = state.strip()
        if code or act is show or state == "ACTIVE":
            return code
        if state in _ENDED:
            say(f"the queued resource {tpu.name} is {state}")
            return 1
        if state != before:
            say(f"the queued resource {tpu.name} is {state}")
        before = state
        time.sleep(_POLL)


def run(tpu: Slice, job: Job, shipment: shipping.Shipment, act: Do = do, tries: int = 3) -> int:
    """Trains on all hosts of a slice that is up, and prints their logs; returns the exit code of the run.

    A slice that is taken away is made again, if its type is given, and the run goes on from its last checkpoint.

    Args:
      tpu: The slice.
      job: What is run.
      shipment: What is sent.
      act: Does commands, or shows them.
      tries: How often in a row a slice is made again without a step more than before.
    """
    left, before = tries, again.step(job.workdir)
    script = host.start(shipment, "tpu", job.words("--distributed", tries=tries))
    while True:
        _send(tpu, tpu.name, shipment, act, "--worker=all")
        act(_ssh(tpu, tpu.name, script))
        code = _code(tpu, act)
        if code in (0, 2, stopping.CODE) or not tpu.type or act is show or _is_there(tpu, act):
            return code
        now = again.step(job.workdir)
        left = tries if now > before else left - 1
        if left < 0:
            return code
        before = max(now, before)
        say(f"{tpu.name} is gone, and is made again")
        delete(tpu, act)
        if failed := create(tpu, act):
            return failed


def compare(tpu: Slice, job: Job, shipment: shipping.Shipment, act: Do = do) -> int:
    """Does the runs of a comparison on VMs of one host each, an equal share on each; returns an exit code.

    Args:
      tpu: The VMs, whose names are separated by commas.
      job: With the folder of the comparison.
      shipment: What is sent.
      act: Does commands, or shows them.
    """
    names = tpu.name.split(",")
    for number, name in enumerate(names):
        _send(tpu, name, shipment, act)
        script = host.start(shipment, "tpu", job.task(number, len(names)))
        begun = script.removesuffix(host.follow())
        if code := act(_gcloud(tpu, "tpu-vm", "ssh", name, f"--command={begun}"))[0]:
            return code
    return max(act(_gcloud(tpu, "tpu-vm", "ssh", name, f"--command={host.follow()}"))[0] for name in names)


def logs(tpu: Slice, act: Do = do) -> int:
    """Prints the logs of all hosts until the run ends."""
    return act(_ssh(tpu, tpu.name, host.follow()))[0]


def stop(tpu: Slice, act: Do = do) -> int:
    """Stops the run on all hosts, which finish the same step and save it."""
    return act(_ssh(tpu, tpu.name, host.stop()))[0]


def delete(tpu: Slice, act: Do = do) -> int:
    """Deletes a slice, or the queued resource with its slice."""
    if tpu.queued:
        return act(_gcloud(tpu, "queued-resources", "delete", tpu.name, "--force", "--quiet"))[0]
    return act(_gcloud(tpu, "tpu-vm", "delete", tpu.name, "--quiet"))[0]


def _send(tpu: Slice, name: str, shipment: shipping.Shipment, act: Do, *flags: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, host.ARCHIVE)
        if act is not show:
            shipping.write(shipment, path)
        act(_gcloud(tpu, "tpu-vm", "scp", path, f"{name}:{host.ARCHIVE}", *flags))


def _ssh(tpu: Slice, name: str, script: str) -> list[str]:
    """The command that runs a script on all hosts at the same time, however many there are."""
    return _gcloud(tpu, "tpu-vm", "ssh", name, "--worker=all", "--batch-size=all", f"--command={script}")


def _code(tpu: Slice, act: Do) -> int:
    """The exit code of a run, asked of the hosts, as that of gcloud for several is its own; 1 where none tells."""
    if act is show:
        return 0
    failed, said = act(_ssh(tpu, tpu.name, host.code()), read=True)
    codes = [int(word) for word in said.split() if word.isdecimal()]
    return 1 if failed or not codes else next((code for code in codes if code), 0)


def _is_there(tpu: Slice, act: Do) -> bool:
    failed, state = act(_gcloud(tpu, "tpu-vm", "describe", tpu.name, "--format=value(state)"), read=True)
    return not failed and state.strip() == "READY"


def _gcloud(tpu: Slice, *words: str) -> list[str]:
    project = [f"--project={tpu.project}"] if tpu.project else []
    return ["gcloud", "compute", "tpus", *words, f"--zone={tpu.zone}", *project]
