"""What the documentation shows works as it stands, and every command that it names is there."""

import importlib
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jtransfer import config as configs
from jtransfer import models, train, weights
from jtransfer.core.command import run_command
from jtransfer.exporting import export
from jtransfer.models import forward
from jtransfer.peft import slots
from jtransfer.runs import build, config_file
from jtransfer.weights import conversion

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SMALL = {"depths": (1, 1, 1, 1), "image_size": 32}


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def files(path):
    """Name and content of each file that a page shows; one that is included stands in the repository."""
    for name, text in re.findall(r'```python title="(.*?)"\n(.*?)```', path.read_text(), re.DOTALL):
        included = re.fullmatch(r'--8<-- "(.*?)"\n', text)
        yield name, (ROOT / included[1]).read_text() if included else text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with small ones of the weights and data that the pages name; resnet18 is small, too.

    A run that a page starts is prepared, which finds all that may be wrong with it, and not trained.
    """
    create = models.create

    def create_small(name, *classes, **fields):
        return create(name, *classes, **(SMALL | fields if name == "resnet18" else fields))

    monkeypatch.setattr(models, "create", create_small)
    monkeypatch.setattr(forward, "INTERCEPTORS", dict(forward.INTERCEPTORS))
    monkeypatch.setattr(slots, "_BROUGHT", {})
    monkeypatch.setattr(train, "run", build.prepare)
    model = models.create("resnet18", num_classes=10)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    file = weights.save(variables, model, tmp_path / "resnet18.safetensors")
    conversion.convert(file, tmp_path / "checkpoint", model="resnet18")
    export.export(tmp_path / "checkpoint", tmp_path / "program", "stablehlo")
    for i in range(10):
        path = tmp_path / "pets" / ("cat" if i % 2 else "newt") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 50, 3), i, np.uint8)).save(path)
    (tmp_path / "tweets.csv").write_text("text,mood\nwhat a day,good\noh no,bad\n")
    rows = [f"{i % 7},{i % 5},{('setosa', 'virginica')[i % 2]}" for i in range(40)]
    (tmp_path / "flowers.csv").write_text("\n".join(["length,width,species", *rows, ""]))
    for name in ("pets", "teacher"):
        shutil.copytree(ROOT / "tests" / "references" / "earlier" / "images", tmp_path / "runs" / name)
    for name in ("photo.jpg", "other.jpg"):
        Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_code_runs(page, folder):
    for name, text in files(page):
        Path(name).write_text(text)
    names = {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    for code in blocks(page, "python"):
        exec(code, names)
    if "settings" in names:
        configs.complete(names["settings"])


def commands(path):
    """The words of each command in a page's shell blocks."""
    for block in blocks(path, "sh"):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            if words := shlex.split(line, comments=True):
                yield words


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_the_commands_are_there(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        if words[:3] == ["pip", "install", "-e"]:
            assert set(re.fullmatch(r"\.\[(.*)\]", words[3])[1].split(",")) <= set(EXTRAS), words
        if words[0].startswith("launch/"):
            assert Path(words[0]).is_file(), words
            configs.complete(config_file.load(next(word for word in words if word.startswith("configs/"))))
        if words[:2] == ["python", "-m"]:
            run_command(importlib.import_module(words[2]).main, [words[2], "--help"])
            shown, given = capsys.readouterr().out, [word for word in words if word.startswith("--")]
            assert all(re.match(r"--\w+", word)[0] in shown for word in given), words
            if overrides := [word for word in given if word.startswith("--config.")]:
                assert any(word.startswith("--config=") for word in given), overrides
            for word in given:
                if word.startswith("--config="):
                    configs.complete(config_file.load(word.removeprefix("--config="), overrides))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    for name in re.findall(r"`((?:configs|launch|jtransfer|tests)/[\w/.]+)`", page.read_text()):
        assert (ROOT / name).exists(), name
