"""What the commands share: one clear line and an exit code for each error. Nothing heavy is imported here."""

import contextlib
import datetime
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

from jtransfer.core import huge_pages, stopping
from jtransfer.core.errors import InputError
from jtransfer.core.show import escaped, one_line, say

CLOSED = 141  # what a shell says of a program whose output was closed
_LONGEST = 2000  # characters of the line of an error


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Calls `main(argv)` and turns what it raises into the output and the exit code of a command.

    The process may begin anew before that (`huge_pages.ask`).

    With `-h` or `--help` it prints the docstring of the module of `main` instead. Of an error it prints one line on
    standard error. The exit code is 2 for an InputError; 130 for an interrupt; and 1 for what the system refuses, as
    space on a disk, permissions or memory, and for an error of the program, whose traceback is then in a file that the
    line names. If the reader of standard output closes it, as `head` does, the command ends silently with exit code
    141. A SystemExit passes.

    Args:
      main: The function of the command.
      argv: The arguments, the name of the program first; `sys.argv` by default.
    """
    argv = sys.argv if argv is None else argv
    _set_up_output()
    try:
        if {"-h", "--help"} & set(argv[1:]):
            say(sys.modules[main.__module__].__doc__)
        else:
            huge_pages.ask()
            main(argv)
        sys.stdout.flush()
    except (SystemExit, GeneratorExit):
        raise
    except InputError as error:
        _end(2, f"error: {error}")
    except KeyboardInterrupt:
        _end(130, "stopped")
    except BrokenPipeError:
        _leave_output()
        sys.exit(CLOSED)
    except BaseException as error:  # a panic of a library in Rust is no Exception
        _end(1, _told(error))


def _set_up_output() -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)  # where Orbax and others talk to themselves
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    format_warning = warnings.formatwarning
    if getattr(format_warning, "__module__", "") == warnings.__name__:
        warnings.formatwarning = lambda *args, **kwargs: escaped(format_warning(*args, **kwargs))


def _told(error: BaseException) -> str:
    """What the line of an error says that no user caused, or that the system did."""
    said = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"error: there is not enough memory: {said}"
    if "RESOURCE_EXHAUSTED" in said:
        return f"error: the device has not enough memory: {said}; make batch_size smaller, or optim.accumulate greater"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"error: {place}{error.strerror or said}"
    return f"internal error: {type(error).__name__}: {said}; {_kept(error)}; please report it"


def _kept(error: BaseException) -> str:
    """Writes the traceback into a new file, and says where it is; or shows it where no file can be written."""
    lines = escaped("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="jtransfer-", suffix=".txt", delete=False) as file:
            file.write(lines)
    except OSError:
        say(lines, sys.stderr)
        return "its traceback is above"
    return f"the traceback is in {file.name}"


def _end(code: int, line: str) -> None:
    with contextlib.suppress(OSError):
        say(one_line(line, _LONGEST), sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _leave_output()
    sys.exit(code)


def _leave_output() -> None:
    """What is still to be written on standard output goes nowhere, as it can't be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def parse_config_flags(values: flags.FlagValues, argv: list[str]) -> tuple[list[str], list[str]]:
    """Parses a command line that may change fields of a config.

    Args:
      values: The flags that the command defines.
      argv: The arguments, the name of the program first.

    Returns:
      The other arguments, and those that change fields, such as "--config.optim.lr=1e-3".

    Raises:
      InputError: As for `parse_flags`.
    """
    overrides = [arg for arg in argv[1:] if arg.startswith(("--config.", "--config["))]
    return parse_flags(values, [arg for arg in argv if arg not in overrides]), overrides


def new_workdir() -> str:
    """Returns a folder in runs/ with the name of the present second."""
    return f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}"


@contextlib.contextmanager
def ending_where_stopped() -> Iterator[None]:
    """A context in which a run that a signal stops ends the command, with the line and the exit code of `Stopped`."""
    try:
        yield
    except stopping.Stopped as stopped:
        say(stopped, file=sys.stderr)
        sys.exit(stopped.code)


def step_of(text: str) -> int | str | None:
    """Returns the step that the text of a flag `--step` names: a number, "best", "last", or None if it is empty."""
    return int(text) if text.isdecimal() and len(text) < 19 else text or None


def set_up_compiler() -> None:
    """Stores compiled programs in ~/.cache/jtransfer/xla for later runs, unless JAX is configured otherwise, and lets
    memory that compilations leave go back to the system."""
    import jax

    from jtransfer.core.compiler_memory import give_back_after_compiling

    give_back_after_compiling()
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jtransfer" / "xla"))
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
