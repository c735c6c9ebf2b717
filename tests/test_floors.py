"""The house of DESIGN.md: every room stands on a floor, imports only from below, and holds no circle of files."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "jtransfer"
ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())


def floors():
    """Room → floor."""
    lines = re.findall(r"^floor (\d+) +(.+)$", (ROOT / "DESIGN.md").read_text(), re.MULTILINE)
    return {room: int(floor) for floor, text in lines for room in re.split(r" {2,}", text)[0].split()}


def imports(path):
    """The modules of ours that a file imports when it is imported, as dotted names without the package's."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jtransfer":
            for alias in node.names:
                yield ".".join([*node.module.split(".")[1:], alias.name])


def is_room(path):
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()


def test_every_room_stands_on_a_floor():
    rooms = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if is_room(path)}
    assert rooms == set(floors())


def test_imports_go_down():
    known, wrong = floors(), []
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in {name.split(".")[0] for name in imports(path)} - {room}:
            if room != "__init__" and not known[other] < known[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_import_each_other_in_no_circle(room):
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / room).rglob("*.py")}
    graph = {}
    for name, path in files.items():
        if path.name != "__init__.py":
            graph[name] = {module for full in imports(path) if (module := _file(full, files)) and module != name}
    graphlib.TopologicalSorter(graph).prepare()


def _file(full, files):
    """The file of a dotted name that ends in a module or in something of a module; None for packages."""
    parent = full.rpartition(".")[0]
    return next((name for name in (full, parent) if name in files), None)
