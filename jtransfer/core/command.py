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
    """Calls `main(argv)` and turns what it raises into the output and the exit code of a command.

    With `-h` or `--help` it prints the docstring of the module of `main` instead. An InputError is printed as one line
    on standard error, with exit code 2; an interrupt prints "stopped", with exit code 130. If the reader of standard
    output closes it, as `head` does, the command ends silently with exit code 141.

    Args:
      main: The function of the command.
      argv: The arguments, the name of the program first; `sys.argv` by default.
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
    """Parses the flags of a command line and returns its other arguments.

    Args:
      values: The flags that the command defines.
      argv: The arguments, the name of the program first.

    Raises:
      InputError: A flag is unknown, or its value has the wrong type.
    """
    try:
        return values(argv)[1:]
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None


def step_of(text: str) -> int | str | None:
    """Returns the step that the text of a flag `--step` names: a number, "best", "last", or None if it is empty."""
    return int(text) if text.isdigit() else text or None


def cache_compilations() -> None:
    """Stores compiled programs in ~/.cache/jtransfer/xla for later runs, unless JAX is configured otherwise."""
    import jax

    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jtransfer" / "xla"))
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
