"""What an import and a command's help load: nothing heavy, and no other framework where one is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOREIGN = (  # fail at import in this test, as if they were installed and took seconds
    *("torch", "torchvision", "timm", "transformers", "tensorflow", "tensorboard", "tensorboardX", "keras", "clu"),
    *("sklearn", "pandas", "sentence_transformers", "open_clip", "comet_ml", "visdom"),
)
LATE = ("matplotlib", "pyarrow", "sacrebleu", "jinja2", "tensorflow_datasets", "scipy.stats")  # where they are used
COMMANDS = ("main", "predict", "evaluate", "inspect", "convert", "export", "report")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python with packages beside it that must not be imported; returns the modules that it has at the end."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in FOREIGN:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} is imported')\n")

    def start(code):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
        code += "\nimport sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.splitlines()[-1].split())

    return start


@pytest.mark.parametrize("module", ["jtransfer", "jtransfer.metrics", "jtransfer.weights", "jtransfer.train"])
def test_an_import_loads_no_other_framework(run, module):
    loaded = run(f"import {module}")
    assert not loaded & {*FOREIGN, *LATE}
    if module in ("jtransfer", "jtransfer.metrics"):
        assert not loaded & {"jax", "flax", "optax", "orbax", "grain", "tensorstore"}


def test_the_help_of_a_command_loads_next_to_nothing(run):
    for command in COMMANDS:
        code = "from jtransfer.core.command import run_command\n"
        code += f"from jtransfer import {command}\nrun_command({command}.main, ['x', '--help'])"
        loaded = run(code)
        assert not loaded & {*FOREIGN, *LATE, "jax", "numpy", "flax", "orbax", "etils"}, command


def test_a_run_writes_its_events_without_another_framework(run, tmp_path):
    code = f"""
from jtransfer.runs import log
with log.Writer({str(tmp_path)!r}) as writer:
    writer.write(1, "probe", "train", {{"loss": 0.5}})
"""
    assert not run(code) & {*FOREIGN, *LATE}
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
