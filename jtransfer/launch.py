"""Starts runs on other machines: python -m jtransfer.launch TARGET … --config=FILE --workdir=DIR [--print]

local                        this machine: main, begun again where it was stopped and saved (exit code 42)
tpu create|run|logs|stop|delete NAME   a slice of Cloud TPUs, by gcloud: --zone=ZONE [--project=P] --type=v5litepod-16
                             [--spot] [--queued]; with --type, run makes a slice that is taken away again, and goes on
tpu compare VM,VM,…          the runs of a comparison (jtransfer.compare --list), an equal share on each VM
machines run|logs|stop HOST,HOST,…   machines that ssh reaches; the first is the coordinator [--extra=cuda]
slurm                        a batch script: [--nodes=2] [--gpus=8] [--sbatch=--time=9:00:00]; --tasks=8: a comparison
gke                          a JobSet for kubectl: --image=IMAGE and --topology=v5e:4x4, or --gpus=8 [--nodes=2]
sky                          a task for SkyPilot: --accelerators=H100:8 [--nodes=2] [--spot]

--config=FILE[:ARGUMENT], --config.FIELD=VALUE, --workdir=DIR, --profile=10:15 are those of jtransfer.main, on all hosts
--tries=3    how often it is begun again without a step more than before
--name=NAME  of a JobSet or a task
--print      shows the commands, the script or the YAML, and runs nothing

Hosts are sent the working tree as it is, committed or not, without what git ignores; the run's folder keeps the commit
and the difference to it. A host keeps all that is printed in ~/jtransfer/log.txt, and each process in RUN/logs.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from jtransfer.core.command import new_workdir, parse_config_flags, run_command
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import say

_COMMON = ("config", "workdir", "profile", "tries", "print")
_OF = {  # target → its actions, and its own flags
    "local": ((), ("distributed", "coordinator", "processes", "process_id")),
    "tpu": (
        ("create", "run", "compare", "logs", "stop", "delete"),
        ("zone", "project", "type", "version", "spot", "queued"),
    ),
    "machines": (("run", "logs", "stop"), ("extra",)),
    "slurm": ((), ("nodes", "gpus", "tasks", "sbatch")),
    "gke": ((), ("name", "image", "topology", "gpus", "nodes")),
    "sky": ((), ("name", "accelerators", "nodes", "spot")),
}


def main(argv: list[str]) -> None:
    """Starts a run, or what is asked for."""
    values = flags.FlagValues()
    texts = "config workdir profile zone project type version extra image topology accelerators coordinator"
    for name in texts.split():
        flags.DEFINE_string(name, "cuda" if name == "extra" else "", name, flag_values=values)
    flags.DEFINE_string("name", "jtransfer", "of a JobSet or a task", flag_values=values)
    for name in ("processes", "process_id"):
        flags.DEFINE_integer(name, None, name, flag_values=values)
    for name, default in (("tries", 3), ("nodes", 1), ("gpus", 0), ("tasks", 0)):
        flags.DEFINE_integer(name, default, name, lower_bound=0, flag_values=values)
    flags.DEFINE_multi_string("sbatch", [], "an option of sbatch", flag_values=values)
    for name in ("spot", "queued", "print", "distributed"):
        flags.DEFINE_boolean(name, False, name, flag_values=values)
    words, overrides = parse_config_flags(values, argv)
    target, action, name = _named(words)
    if foreign := [one for one in values if values[one].present and one not in (*_COMMON, *_OF[target][1])]:
        raise InputError(f"--{foreign[0]} is not for {target}; leave it out")
    code = _TARGETS[target](values, overrides, action, name)
    if code:
        sys.exit(code)


def _named(words: list[str]) -> tuple[str, str, str]:
    """The target, the action, and the name of what it is done to."""
    if not words:
        raise InputError(f"give a target: {', '.join(_OF)}")
    if words[0] not in _OF:
        raise unknown("target", words[0], _OF)
    actions = _OF[words[0]][0]
    if not actions:
        if words[1:]:
            raise InputError(f"unexpected argument {words[1]!r}; flags begin with --, and their values follow a =")
        return words[0], "", ""
    if len(words) != 3 or words[1] not in actions:
        raise InputError(f"give what is to be done, and to what: {words[0]} {'|'.join(actions)} NAME")
    if not all(words[2].split(",")) or words[2].startswith("-"):
        raise InputError(f"{words[2]!r} is no name; give names separated by commas")
    return words[0], words[1], words[2]


def _job(values: flags.FlagValues, overrides: list[str], *, compares: bool = False, shipment: Any = None) -> Any:
    from jtransfer.launching import command

    profile = [f"--profile={values.profile}"] if values.profile else []
    if compares and (values.config or overrides or profile):
        raise InputError("a comparison's folder has its config; leave --config and --profile out")
    job = command.check(command.Job(values.workdir, values.config, (*overrides, *profile)), compares=compares)
    return job if compares or shipment is None else job._replace(config=shipment.config(job.config))


def _local(values: flags.FlagValues, overrides: list[str], *_: str) -> int:
    from jtransfer.core import processes
    from jtransfer.launching import again, command, doing

    if not values.config:
        raise InputError("give a config: --config=configs/quickstart.py")
    process = processes.of_flags(values.coordinator, values.processes, values.process_id)
    job = command.Job(values.workdir or new_workdir(), values.config, tuple(overrides))
    place = ["--distributed"] if values.distributed else []
    if process:
        place = [
            f"--{flag}={value}" for flag, value in zip(("coordinator", "processes", "process_id"), process, strict=True)
        ]
    profile = [f"--profile={values.profile}"] if values.profile else []
    words = ["-m", "jtransfer.main", f"--config={job.config}", f"--workdir={job.workdir}", *place, *job.flags, *profile]
    if values.print:
        return doing.show([sys.executable, *words])[0]
    return again.run([sys.executable, *words], job.workdir, values.tries)


def _tpu(values: flags.FlagValues, overrides: list[str], action: str, name: str) -> int:
    from jtransfer.launching import doing, shipping, tpu

    if not values.zone:
        raise InputError("give the zone of the slice: --zone=us-central2-b")
    act = doing.show if values.print else doing.do
    made = (name, values.zone, values.type, values.version, values.spot, values.queued, values.project)
    if action in ("run", "compare"):
        shipment = shipping.of()
        job = _job(values, overrides, compares=action == "compare", shipment=shipment)
        if action == "compare":
            return tpu.compare(tpu.Slice(*made), job, shipment, act)
        return tpu.run(tpu.Slice(*made), job, shipment, act, values.tries)
    act_on: dict[str, Callable[..., int]] = {
        "create": tpu.create,
        "logs": tpu.logs,
        "stop": tpu.stop,
        "delete": tpu.delete,
    }
    return act_on[action](tpu.Slice(*made), act)


def _machines(values: flags.FlagValues, overrides: list[str], action: str, name: str) -> int:
    from jtransfer.launching import doing, machines, shipping

    act, hosts = doing.show if values.print else doing.do, name.split(",")
    if action != "run":
        return {"logs": machines.logs, "stop": machines.stop}[action](hosts, act)
    shipment = shipping.of()
    return machines.run(hosts, _job(values, overrides, shipment=shipment), shipment, act, values.extra, values.tries)


def _slurm(values: flags.FlagValues, overrides: list[str], *_: str) -> int:
    from jtransfer.launching import shipping, slurm

    if values.tasks:
        job = _job(values, overrides, compares=True)
    else:
        job = _job(values, overrides)
        shipping.of().config(job.config)
    how = {"nodes": values.nodes, "gpus": values.gpus, "tasks": values.tasks, "tries": values.tries}
    text = slurm.script(job, values.sbatch, **how)
    if values.print:
        say(text.rstrip("\n"))
        return 0
    return slurm.submit(text)


def _gke(values: flags.FlagValues, overrides: list[str], *_: str) -> int:
    from jtransfer.launching import gke

    how: dict[str, Any] = {name: values[name].value for name in ("name", "image", "topology", "gpus", "nodes", "tries")}
    say(gke.jobset(_job(values, overrides), **how).rstrip("\n"))
    return 0


def _sky(values: flags.FlagValues, overrides: list[str], *_: str) -> int:
    from jtransfer.launching import shipping, sky

    shipment = shipping.of()
    how: dict[str, Any] = {name: values[name].value for name in ("name", "accelerators", "nodes", "spot", "tries")}
    say(sky.task(_job(values, overrides, shipment=shipment), shipment, **how).rstrip("\n"))
    return 0


_TARGETS = {"local": _local, "tpu": _tpu, "machines": _machines, "slurm": _slurm, "gke": _gke, "sky": _sky}

if __name__ == "__main__":
    run_command(main)
