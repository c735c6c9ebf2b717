"""What the commands share: one clear line and exit code 2 for a user's error."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags

from jtransfer.core.errors import InputError


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Calls `main(argv)`; an InputError is one line and exit code 2; `--help` prints the module's text."""
    argv = sys.argv if argv is None else argv
    logging.getLogger("absl").setLevel(logging.ERROR)  # where Orbax and others talk to themselves
    if {"-h", "--help"} & set(argv[1:]):
        print(sys.modules[main.__module__].__doc__)
        return
    try:
        main(argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def parse_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses the command line; returns the arguments that are no flags. What does not parse is an InputError."""
    try:
        return values(argv)[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None


def cache_compilations() -> None:
    """Keeps compiled programs between runs in ~/.cache/jtransfer/xla, unless JAX is told another place."""
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jtransfer" / "xla"))
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
