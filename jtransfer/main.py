"""Trains: python -m jtransfer.main --config=configs/quickstart.py [--workdir=DIR] [--config.optim.lr=3e-3]"""

import datetime

import jax
from absl import flags

from jtransfer import report, train
from jtransfer.command import cache_compilations, define_config, parse_flags, run_command
from jtransfer.errors import InputError

_FLAGS = flags.FlagValues()
_CONFIG = define_config(_FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", "", "the run's folder; a new one under runs/ by default", flag_values=_FLAGS)
_DISTRIBUTED = flags.DEFINE_boolean("distributed", False, "one of several processes of a cluster", flag_values=_FLAGS)


def main(argv: list[str]) -> None:
    """Trains by a config; prints the test metrics and where the report is."""
    rest = parse_flags(_FLAGS, argv)
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --")
    if _CONFIG.value is None:
        raise InputError("give a config: --config=configs/quickstart.py")
    if _DISTRIBUTED.value:
        jax.distributed.initialize()
    cache_compilations()
    config = _CONFIG.value
    folder = _WORKDIR.value or f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if jax.process_index() == 0:
        print(f"workdir: {folder}", flush=True)
    scalars = train.run(config, folder)
    if jax.process_index() == 0:
        print("test: " + "  ".join(f"{name} {value:.4f}" for name, value in scalars.items()))
        print(f"report: {report.write(folder)}")


if __name__ == "__main__":
    run_command(main)
