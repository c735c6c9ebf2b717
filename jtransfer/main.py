"""Trains: python -m jtransfer.main --config=configs/quickstart.py [--workdir=DIR] [--config.optim.lr=3e-3]

--config=FILE[:ARGUMENT]  a Python file with get_config(), such as those in configs/
--config.FIELD=VALUE      a field in place of the file's: --config.phases[0].epochs=5; jtransfer/runs/config.py has all
--workdir=DIR             the run's folder; by default a new one in runs/. The same command again goes on where it was.
--distributed             this is one process of a cluster's (TPU pod, Slurm, …)
"""

import datetime

from absl import flags

from jtransfer.core.command import cache_compilations, parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Trains by a config; prints the test metrics and where the report is."""
    values = flags.FlagValues()
    given = flags.DEFINE_string("config", "", "config file", flag_values=values)
    workdir = flags.DEFINE_string("workdir", "", "the run's folder; by default a new one in runs/", flag_values=values)
    cluster = flags.DEFINE_boolean("distributed", False, "one of several processes of a cluster", flag_values=values)
    overrides = [arg for arg in argv[1:] if arg.startswith(("--config.", "--config["))]
    rest = parse_flags(values, [arg for arg in argv if arg not in overrides])
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --, and their values follow a =")
    if not given.value:
        raise InputError("give a config: --config=configs/quickstart.py")
    import jax

    from jtransfer import train
    from jtransfer.reporting import page
    from jtransfer.runs import config_file

    config = config_file.load(given.value, overrides)
    if cluster.value and not workdir.value:
        raise InputError("give all processes of the cluster the same folder: --workdir=DIR")
    if cluster.value:
        _join_cluster()
    cache_compilations()
    folder = workdir.value or f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if jax.process_index() == 0:
        say(f"workdir: {folder}")
    scalars = train.run(config, folder)
    if jax.process_index() == 0:
        say("test: " + "  ".join(f"{name} {value:.4f}" for name, value in scalars.items()))
        say(f"report: {page.write(folder)}")


def _join_cluster() -> None:
    import jax

    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--distributed finds no cluster ({error}); leave it out on one machine") from None


if __name__ == "__main__":
    run_command(main)
