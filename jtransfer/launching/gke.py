"""A JobSet for Kubernetes, as on GKE: one pod for each host of a slice of TPUs, or for each node with GPUs."""

import math
from typing import Any

from jtransfer.core import stopping
from jtransfer.core.errors import InputError, unknown
from jtransfer.launching import yaml
from jtransfer.launching.command import Job

ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
}
_CHIPS = 4  # of a host
_PORT = 8476
_CONTAINER = "jtransfer"


def jobset(
    job: Job, *, name: str, image: str, topology: str = "", gpus: int = 0, nodes: int = 1, tries: int = 3
) -> str:
    """Returns the JobSet as YAML.

    A pod that ends with exit code 42 was stopped and is saved: the JobSet begins again, and goes on from there. After
    other failures it begins again a few times.

    Args:
      job: What is run; its code is in the image.
      name: Of the JobSet.
      image: Of the container, with Python, jtransfer, and the config in its working directory.
      topology: Of a slice of TPUs, as "v5e:4x4".
      gpus: The number of GPUs of a node, where there are no TPUs.
      nodes: The number of nodes with GPUs.
      tries: How often it begins again after failures.

    Raises:
      InputError: There is no such topology, or neither TPUs nor GPUs are asked for.
    """
    if not image or bool(topology) == bool(gpus):
        raise InputError("give --image=…, and either --topology=v5e:4x4 or --gpus=8 [--nodes=2]")
    hosts, spec = _of_tpus(topology) if topology else (nodes, {"resources": {"limits": {"nvidia.com/gpu": gpus}}})
    words = ["python3", "-m", "jtransfer.main", f"--config={job.config}", f"--workdir={job.workdir}", *job.flags]
    words = [word.replace("$", "$$") for word in words]  # Kubernetes puts variables in place of $(…)
    if topology:
        words.append("--distributed")
    elif nodes > 1:
        first = f"{name}-workers-0-0.{name}:{_PORT}"
        words += [f"--coordinator={first}", f"--processes={nodes}", "--process_id=$(JOB_COMPLETION_INDEX)"]
    selector = spec.pop("nodeSelector", {})
    container = {"name": _CONTAINER, "image": image, "command": words, "ports": [{"containerPort": _PORT}], **spec}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 120, "containers": [container]}
    saved = {
        "action": "FailJob",
        "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": [stopping.CODE]},
    }
    again = {"action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]}
    return yaml.text(
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": {"maxRestarts": tries, "rules": [again]},
                "replicatedJobs": [
                    {
                        "name": "workers",
                        "replicas": 1,
                        "template": {
                            "spec": {
                                "parallelism": hosts,
                                "completions": hosts,
                                "completionMode": "Indexed",
                                "backoffLimit": 0,
                                "podFailurePolicy": {"rules": [saved]},
                                "template": {"spec": {**pod, **({"nodeSelector": selector} if selector else {})}},
                            }
                        },
                    }
                ],
            },
        }
    )


def _of_tpus(topology: str) -> tuple[int, dict[str, Any]]:
    """The number of hosts of a slice, and what their pods ask for."""
    kind, _, shape = topology.partition(":")
    sides = shape.split("x")
    if kind not in ACCELERATORS:
        raise unknown("kind of TPU", kind, ACCELERATORS)
    if not all(side.isascii() and side.isdecimal() and 0 < int(side) < 1000 for side in sides):
        raise InputError(f"topology={topology!r}: give the shape of the slice, as v5e:4x4")
    chips = math.prod(map(int, sides))
    if chips > _CHIPS and chips % _CHIPS:
        raise InputError(f"topology={topology!r}: {chips} chips are no hosts of {_CHIPS}; give another shape")
    selector = {"cloud.google.com/gke-tpu-accelerator": ACCELERATORS[kind], "cloud.google.com/gke-tpu-topology": shape}
    limits = {"limits": {"google.com/tpu": min(chips, _CHIPS)}}
    return max(1, chips // _CHIPS), {"resources": limits, "nodeSelector": selector}
