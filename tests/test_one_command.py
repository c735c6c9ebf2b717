"""`jtransfer COMMAND`, commands that are run by their path, and modules that come when they are asked for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_command import COMMANDS, ENVIRONMENT, HEAVY, PACKAGE

import jtransfer

BARE = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
LIKE_PYTHONS = sorted(path for path in PACKAGE.rglob("*.py") if path.stem in sys.stdlib_module_names)


def told(*command, cwd=None, env=ENVIRONMENT):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, env=env, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def test_help_lists_every_command_by_what_it_does():
    code, out, err = told("-m", "jtransfer", "--help")
    assert (code, err) == (0, "")
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert listed == {{"main": "train", "list_models": "models"}.get(name, name) for name in COMMANDS}
    assert "\n  convert   Converts: SOURCE DEST" in out
    assert told("-m", "jtransfer") == told("-m", "jtransfer", "-h") == (0, out, "")


def test_help_is_there_at_once_and_imports_nothing_heavy():
    code = "import runpy, sys\nsys.argv = ['jtransfer', '--help']\nrunpy.run_module('jtransfer', run_name='__main__')\n"
    loaded = f"print([room for room in {HEAVY} if room in sys.modules])"
    assert told("-c", code + loaded)[1].endswith("[]\n")
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        told("-m", "jtransfer", "--help")
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.3


def test_a_command_is_what_python_runs_by_its_module(tmp_path):
    missing = tmp_path / "none.safetensors"
    assert told("-m", "jtransfer", "inspect", missing) == told("-m", "jtransfer.inspect", missing)
    assert told("-m", "jtransfer", "train", "--help") == told("-m", "jtransfer.main", "--help")
    assert told("-m", "jtransfer", "main") == told("-m", "jtransfer.main")


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("--version", 0, f"{jtransfer.__version__}\n"),
        ("predct", 2, "error: unknown command 'predct'; nearest: predict"),
        ("--config=x.py", 2, "error: --config=x.py stands where the name of a command belongs"),
    ],
)
def test_what_is_no_command(given, code, said):
    found, out, err = told("-m", "jtransfer", given)
    assert found == code
    assert (out + err).startswith(said)
    assert (out + err).count("\n") == 1


@pytest.mark.parametrize("name", ["__main__", *COMMANDS])
def test_a_command_runs_by_its_path_from_anywhere(name, tmp_path):
    """As an editor runs a file: the folder of the file comes first where Python looks for modules."""
    code, out, err = told(PACKAGE / f"{name}.py", "--help", cwd=tmp_path, env=BARE)
    assert (code, err) == (0, "")
    assert out.startswith((PACKAGE / f"{name}.py").read_text().partition('"""')[2].partition("\n")[0])


@pytest.mark.parametrize("how", [["inspect.py"], ["-m", "jtransfer.inspect"]])
def test_in_its_own_folder_a_command_imports_what_is_pythons(how, tmp_path):
    """JAX, NumPy and Flax import Python's `inspect`."""
    from numpy import ones
    from safetensors.numpy import save_file

    save_file({"a": ones(1)}, tmp_path / "model.safetensors")
    code, out, err = told(*how, tmp_path / "model.safetensors", cwd=PACKAGE)
    assert (code, err) == (0, "")
    assert "model.safetensors" in out


def test_what_has_a_name_of_pythons_is_no_script_but_for_commands():
    """Beside it Python would take it for its own; commands look past the folder that they lie in."""
    assert PACKAGE / "inspect.py" in LIKE_PYTHONS
    folders = {path.parent for path in LIKE_PYTHONS} - {PACKAGE}
    scripts = [path for folder in folders for path in folder.glob("*.py") if "__main__" in path.read_text()]
    assert scripts == []


def test_modules_come_when_they_are_asked_for():
    code = (
        "import sys, jtransfer\n"
        f"assert not [room for room in {HEAVY} if room in sys.modules]\n"
        "assert {'peft', 'optim', 'predict', 'layers'} <= set(dir(jtransfer))\n"
        "print(jtransfer.peft.__name__, jtransfer.predict.load.__name__, jtransfer.layers.norm.__name__)"
    )
    assert told("-c", code) == (0, "jtransfer.peft load jtransfer.layers.norm\n", "")
    with pytest.raises(AttributeError, match="no attribute 'pefft'; its pieces are "):
        _ = jtransfer.pefft
    assert set(jtransfer.__all__) == set(jtransfer._PIECES)
    assert Path(jtransfer.__file__).parent == PACKAGE
