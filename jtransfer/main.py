"""Trains: python -m jtransfer.main --config=configs/quickstart.py [--workdir=DIR] [--config.optim.lr=3e-3]

--config=FILE[:ARGUMENT]  a Python file with get_config(), such as those in configs/
--config.FIELD=VALUE      a field in place of the file's: --config.phases[0].epochs=5; jtransfer/runs/config.py has all
--workdir=DIR             the run's folder; by default a new one in runs/. The same command again goes on where it was.
--distributed             this is one process of a cluster's (TPU pod, Slurm, …)

SIGTERM, SIGINT, SIGUSR1 or SIGHUP to any process stops the run: the step is finished and saved, and the exit code is
42, or 130 for SIGINT; a second signal ends it at once.
"""

import logging

from absl import flags

from jtransfer.core import cluster, stopping
from jtransfer.core.command import (
    cache_compilations,
    ending_where_stopped,
    new_workdir,
    parse_config_flags,
    run_command,
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
    rest, overrides = parse_config_flags(values, argv)
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --, and their values follow a =")
    if not given.value:
        raise InputError("give a config: --config=configs/quickstart.py")
    if distributed.value:
        cluster.expect()
    with stopping.on_signals(), ending_where_stopped():
        _train(given.value, overrides, workdir.value, distributed=distributed.value)


def _train(file: str, overrides: list[str], workdir: str, *, distributed: bool) -> None:
    import jax

    for name in ("absl", "asyncio", "concurrent.futures"):  # what Orbax and its threads log as an error is raised, too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from jtransfer import train
    from jtransfer.exporting import at_end
    from jtransfer.judging import judge
    from jtransfer.reporting import page
    from jtransfer.runs import config as configs
    from jtransfer.runs import config_file, log, protocol
    from jtransfer.tuning import advice

    config = config_file.load(file, overrides)
    if distributed and not workdir:
        raise InputError("give all processes of the cluster the same folder: --workdir=DIR")
    if distributed:
        cluster.join({"stop": stopping.agree})
        stopping.take_over()
    cache_compilations()
    folder = workdir or new_workdir()
    if jax.process_index() == 0:
        say(f"workdir: {folder}")
    with cluster.telling():
        config = advice.resolved(config, folder)
        scalars = train.run(config, folder)
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
