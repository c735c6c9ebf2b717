"""Trains: python -m jtransfer.main --config=configs/quickstart.py [--workdir=DIR] [--config.optim.lr=3e-3]

--config=FILE[:ARGUMENT]  a Python file with get_config(), such as those in configs/
--config.FIELD=VALUE      a field in place of the file's: --config.phases[0].epochs=5; jtransfer/runs/config.py has all
--workdir=DIR             the run's folder; by default a new one in runs/. The same command again goes on where it was.
--profile=10:15           writes a trace of these steps into RUN/profile, which XProf and TensorBoard open
--distributed             this is one process of a cluster's (TPU pod, Slurm, …). Elsewhere, on plain machines, each is
                          given --coordinator=HOST:PORT of process 0, --processes=N and --process_id=0 to N-1
--dry_run                 trains nothing and writes nothing: prints what a step needs, by which it is told whether it
                          fits [--hbm_gb=16] on these devices or on others [--topology=v5e:4x4, v5e-16, cpu:8, h100:8],
                          and what would make it fit; exit code 1 if it does not. --step_time times steps, too

SIGTERM, SIGINT, SIGUSR1 or SIGHUP to any process stops the run: the step is finished and saved, and the exit code is
42, or 130 for SIGINT; a second signal ends it at once.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import logging
import sys
from typing import Any

from absl import flags

from jtransfer.core import cluster, process_log, processes, stopping
from jtransfer.core.command import (
    ending_where_stopped,
    new_workdir,
    parse_config_flags,
    run_command,
    set_up_compiler,
)
from jtransfer.core.errors import InputError
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Trains by a config; prints the test metrics and where the report is."""
    values = flags.FlagValues()
    given = flags.DEFINE_string("config", "", "config file", flag_values=values)
    workdir = flags.DEFINE_string("workdir", "", "the run's folder; by default a new one in runs/", flag_values=values)
    distributed = flags.DEFINE_boolean(
        "distributed", False, "one of several processes of a cluster", flag_values=values
    )
    coordinator = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0", flag_values=values)
    count = flags.DEFINE_integer("processes", None, "how many processes there are", flag_values=values)
    number = flags.DEFINE_integer("process_id", None, "which of them this is", flag_values=values)
    dry_run = flags.DEFINE_boolean("dry_run", False, "print what a step needs, and train nothing", flag_values=values)
    hbm_gb = flags.DEFINE_float("hbm_gb", None, "memory of a device in GiB", flag_values=values)
    topology = flags.DEFINE_string("topology", "", "devices to plan for, as v5e-16", flag_values=values)
    step_time = flags.DEFINE_boolean("step_time", False, "time steps in a dry run", flag_values=values)
    profile = flags.DEFINE_string("profile", "", "the first and the last step to trace, as 10:15", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --, and their values follow a =")
    if not given.value:
        raise InputError("give a config: --config=configs/quickstart.py")
    if dry_run.value:
        _plan(given.value, overrides, {"hbm_gb": hbm_gb.value, "topology": topology.value, "timed": step_time.value})
        return
    if unused := [name for name in ("hbm_gb", "topology", "step_time") if values[name].present]:
        raise InputError(f"--{unused[0]} is of a dry run; add --dry_run, or leave it out")
    process = processes.of_flags(coordinator.value, count.value, number.value)
    joins = distributed.value or process is not None
    if joins and not workdir.value:
        raise InputError("give all processes of the cluster the same folder: --workdir=DIR")
    if joins:
        cluster.expect()
    with stopping.on_signals(), ending_where_stopped():
        _train(given.value, overrides, workdir.value, profile.value, joins, process)


def _plan(file: str, overrides: list[str], how: dict[str, Any]) -> None:
    from jtransfer import dry_run
    from jtransfer.runs import config_file

    dry_run.begin(how["topology"])
    if dry_run.plan(config_file.load(file, overrides), **how, tell=say).fits is False:
        sys.exit(1)


def _train(
    file: str, overrides: list[str], workdir: str, profile: str, joins: bool, process: processes.Process | None
) -> None:
    import jax

    for name in ("absl", "asyncio", "concurrent.futures"):  # what Orbax and its threads log as an error is raised, too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from jtransfer import train
    from jtransfer.exporting import at_end
    from jtransfer.judging import judge
    from jtransfer.reporting import page
    from jtransfer.runs import config as configs
    from jtransfer.runs import config_file, log, protocol, tracing
    from jtransfer.tuning import advice

    config = config_file.load(file, overrides)
    steps = tracing.parse(profile)
    if joins:
        cluster.join({"stop": stopping.agree}, process)
        process_log.hear(workdir, jax.process_index())
        stopping.take_over()
    set_up_compiler()
    folder = workdir or new_workdir()
    if jax.process_index() == 0:
        say(f"workdir: {folder}")
    with cluster.telling():
        config = advice.resolved(config, folder)
        scalars = train.run(config, folder, profile=steps)
    judge.judge_and_tell(folder, configs.complete(config.to_dict()).verdict, train.run)
    if jax.process_index() == 0:
        say("test: " + "  ".join(f"{name} {value:.4f}" for name, value in scalars.items()))
        if chosen := protocol.told_of(log.read(folder)):
            say(f"the model is {chosen}")
        say(f"report: {page.write(folder)}")
    at_end.export_and_tell(folder)


if __name__ == "__main__":
    stopping.take()
    with cluster.leaving():
        run_command(main)
