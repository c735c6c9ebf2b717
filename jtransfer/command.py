"""What the commands share: one clear line and exit code 2 for a user's error; the config from the command line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from jtransfer.errors import InputError, unknown


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Calls `main(argv)`; an InputError is printed as it is, and the exit code is 2."""
    try:
        main(sys.argv if argv is None else argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def parse_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses the command line; returns the arguments that are no flags. What does not parse is an InputError."""
    try:
        rest = values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        if isinstance(error, InputError):
            raise
        raise _explain(argv, error) from None
    return rest


def define_config(values: flags.FlagValues) -> Any:
    """The flag `--config=FILE[:ARGUMENT]`, with `--config.field=value` for each field."""
    return config_flags.DEFINE_config_file("config", help_string="config file", flag_values=values)


def cache_compilations() -> None:
    """Keeps compiled programs between runs, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/jtransfer/xla."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jtransfer" / "xla"))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _explain(argv: list[str], error: Exception) -> InputError:
    """A field that the config does not have is answered with the nearest; anything else with its own first line."""
    if isinstance(error, AttributeError):
        from jtransfer import config, tree

        known = {f"--config.{name.replace('/', '.')}" for name in tree.flatten(config.default().to_dict())}
        known |= {f"--config.phases[0].{name}" for name in config.PHASE}
        for arg in argv[1:]:
            name = arg.split("=")[0]
            if name.startswith("--config.") and name.replace("--config.phases[1]", "--config.phases[0]") not in known:
                return unknown("config field", name, known)
    return InputError(" ".join(str(error).split()) or repr(error))
