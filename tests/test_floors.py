"""The house of DESIGN.md: every room stands on a floor, and imports only from below."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent / "jtransfer"


def floors():
    """Room → (floor, place on it)."""
    lines = re.findall(r"^floor (\d)  (.+)$", (ROOT / "DESIGN.md").read_text(), re.MULTILINE)
    return {
        room: (int(floor), place)
        for floor, text in lines
        for place, room in enumerate(re.split(r" {2,}", text)[0].split())
    }


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jtransfer":
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]


def test_every_room_stands_on_a_floor():
    rooms = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if is_room(path)}
    assert rooms - set(floors()) == set()


def is_room(path):
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()


def test_imports_go_down():
    known, wrong = floors(), []
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imported_rooms(path):
            if room == "__init__" or other == room:
                continue
            (floor, place), (below, beside) = known[room], known[other]
            if not (below < floor or (floor == below == 0 and beside < place)):
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []
