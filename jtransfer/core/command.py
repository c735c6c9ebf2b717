"""What the commands share: one clear line and exit code 2 for a user's error. Nothing heavy is imported here."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

from jtransfer.core.errors import InputError

CLOSED = 141  # what a shell says of a program whose output was closed


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Calls `main(argv)`, or prints the text of its module for `--help`, and exits as a command does.

    An InputError is one line on standard error and exit code 2; an interrupt is "stopped" and 130. Where standard
    output is closed by who reads it, the command ends without a word.
    """
    argv = sys.argv if argv is None else argv
    logging.getLogger("absl").setLevel(logging.ERROR)  # where Orbax and others talk to themselves
    try:
        if {"-h", "--help"} & set(argv[1:]):
            print(sys.modules[main.__module__].__doc__)
        else:
            main(argv)
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED)


def parse_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses the command line; returns the arguments that are no flags.

    Raises:
      InputError: an unknown flag, or a value of another type.
    """
    try:
        return values(argv)[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None


def step_of(text: str) -> int | str | None:
    """The value of a flag `--step`: a number, "best", or None for the last."""
    return int(text) if text.isdigit() else text or None


def cache_compilations() -> None:
    """Keeps compiled programs between runs in ~/.cache/jtransfer/xla, unless JAX is told another place."""
    import jax

    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jtransfer" / "xla"))
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
