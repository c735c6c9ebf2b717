"""Transfer learning for JAX, as one command: jtransfer COMMAND [ARGUMENTS], which is python -m jtransfer.COMMAND

jtransfer COMMAND --help says more of a command; jtransfer --version prints the version.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import ast
import runpy
import sys
from pathlib import Path

import jtransfer
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import one_line, say

_FOLDER = Path(__file__).parent
_CALLED = {"main": "train", "list_models": "models"}  # modules that the command has another name for
_HELP = "help"
_WIDTH = 108  # characters of what is said of a command


def commands() -> dict[str, str]:
    """Returns the name of each command → the name of its module, sorted: the modules that Python may run."""
    modules = (path.stem for path in _FOLDER.glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text("utf-8"))
    return dict(sorted((_CALLED.get(module, module), module) for module in modules))


def main() -> None:
    """Runs the command that the first argument names, with the others, as `python -m` runs its module."""
    name, known = (sys.argv[1] if len(sys.argv) > 1 else _HELP), commands()
    module = known.get(name, name if name in known.values() else "")
    if not module:
        return run_command(_about, ["jtransfer", _HELP if name in ("-h", "--help") else name])
    sys.argv[:2] = [f"jtransfer {name}"]
    runpy.run_module(f"jtransfer.{module}", run_name="__main__", alter_sys=True)


def _about(argv: list[str]) -> None:
    name, known = argv[1], commands()
    if name == "--version":
        say(jtransfer.__version__)
    elif name == _HELP:
        doc = ast.get_docstring(ast.parse(Path(__file__).read_text("utf-8")))
        say("\n".join([doc or "", "", *(f"  {one:<10}{_told(module)}" for one, module in known.items())]))
    elif name.startswith("-"):
        raise InputError(f"{name} stands where the name of a command belongs: jtransfer COMMAND {name}")
    else:
        raise unknown("command", name, known)


def _told(module: str) -> str:
    """The first line of the docstring of a command's module, without the part that all have, cut to a line."""
    doc = ast.get_docstring(ast.parse((_FOLDER / f"{module}.py").read_text("utf-8"))) or ""
    return one_line(doc.partition("\n")[0].replace(f"python -m jtransfer.{module} ", ""), _WIDTH)


if __name__ == "__main__":
    main()
