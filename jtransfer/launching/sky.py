"""A task for SkyPilot, which finds machines, sends the working tree, and recovers from preemptions."""

import importlib.metadata
import shlex
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.launching import shipping, yaml
from jtransfer.launching.command import Job

_PORT = 8476
_SEVERAL = (
    f'--coordinator="$(echo "$SKYPILOT_NODE_IPS" | head -n1):{_PORT}" '
    '--processes="$SKYPILOT_NUM_NODES" --process_id="$SKYPILOT_NODE_RANK"'
)


def task(
    job: Job,
    shipment: shipping.Shipment,
    *,
    name: str,
    accelerators: str,
    nodes: int = 1,
    spot: bool = False,
    tries: int = 3,
) -> str:
    """Returns the task as YAML, for `sky launch` or, with spot machines, `sky jobs launch`.

    Args:
      job: What is run.
      shipment: The working tree, which SkyPilot sends itself.
      name: Of the task.
      accelerators: Of a node, as "H100:8" or "tpu-v5litepod-16".
      nodes: The number of nodes.
      spot: Whether they may be taken away, and cost less.
      tries: As for `again.run`.

    Raises:
      InputError: It is not said on what it is run.
    """
    if not accelerators:
        raise InputError("give what it is run on: --accelerators=H100:8")
    tpu = accelerators.startswith("tpu")
    extra = "tpu" if tpu else "cuda"
    place = "." if not shipment.folder.parts else str(shipment.folder)
    several = " --distributed" if tpu else f" {_SEVERAL}" if nodes > 1 else ""
    found: dict[str, Any] = {
        "name": name,
        "num_nodes": nodes,
        "workdir": str(shipment.root),
        "resources": {"accelerators": accelerators, **({"use_spot": True} if spot else {})},
    }
    if shipment.library:
        found["file_mounts"] = {"~/jtransfer-library": str(shipment.library)}
    enter = f"cd {shlex.quote(place)}\n" if place != "." else ""
    found["setup"] = f"python3 -m pip install --quiet {_installed(shipment, extra)}\n"
    found["run"] = f"{enter}python3 {shlex.join(job.words(tries=tries))}{several}\n"
    return yaml.text(found)


def _installed(shipment: shipping.Shipment, extra: str) -> str:
    if shipment.wheel:
        return shlex.quote(f"jtransfer[{extra}]=={importlib.metadata.version('jtransfer')}")
    return (
        f"-e {shlex.quote(f'.[{extra}]')}"
        if not shipment.library
        else f"-e ~/jtransfer-library{shlex.quote(f'[{extra}]')}"
    )
