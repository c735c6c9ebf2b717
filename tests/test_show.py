"""Names from elsewhere are shown as one line of plain characters, whatever they hold, by whatever prints them."""

import ast
import io
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import jtransfer
from jtransfer import convert, inspect
from jtransfer.core import show, text_table
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError, some, unknown

PACKAGE = Path(jtransfer.__file__).parent
ATTACKS = {  # what a name may hold → how it is shown
    "\x1b[2J": r"\x1b[2J",
    "\x9b31m": r"\x9b31m",
    "\x00": r"\x00",
    "\x07": r"\x07",
    "\b\b\b": r"\x08\x08\x08",
    "\r": r"\r",
    "\nfaked: ": r"\nfaked: ",
    "\x85": r"\x85",
    "\u2028": r"\u2028",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u2066": r"\u2066",
    "\u200f": r"\u200f",
    "\x7f": r"\x7f",
    "\ud800": r"\ud800",
    "\ufeff": r"\ufeff",
}
HARMLESS = ("a\tb", "Käse", "日本語", "नमस्ते", "👩\u200d🔬", "10\u202f%", "a/b_c.weight", "\u3000")
HOSTILE = "".join(ATTACKS)


def safe(text):
    return not any(attack[0] in text.replace("\n", "") for attack in ATTACKS if attack[0] != "\n")


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_unprintable_is_an_escape(attack):
    assert show.one_line(f"a{attack}b") == f"a{ATTACKS[attack]}b"
    assert show.shown(f"a{attack}b") == f"'a{ATTACKS[attack]}b'"
    if attack[0] != "\n":
        assert show.escaped(f"a\n{attack}b") == f"a\n{ATTACKS[attack]}b"


@pytest.mark.parametrize("text", HARMLESS)
def test_letters_of_any_script_stay(text):
    assert show.one_line(text) == show.escaped(text) == show.shown(text) == text


@pytest.mark.parametrize("letter", ["a", "\x1b", "\n"])
def test_what_is_long_loses_its_middle(letter):
    line = show.one_line("begin" + letter * 10**6 + "end")
    assert len(line) == show.LONGEST
    assert line.startswith("begin")
    assert line.endswith("end")
    assert "…" in line


def test_lists_tables_and_errors_have_names_as_one_line():
    assert some([f"a{HOSTILE}"]) == show.shown(f"a{HOSTILE}")
    (row,) = text_table.lay_out([(HOSTILE, "x")])
    assert safe(row)
    assert "\n" not in row
    error = str(unknown("class", HOSTILE, [HOSTILE, "b"]))
    assert safe(error)
    assert "\n" not in error


def test_nothing_is_printed_but_by_say():
    """So that all of it is escaped."""
    for path in PACKAGE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printed = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not printed or path.name == "show.py", path
    file = io.StringIO()
    show.say(f"a\n{HOSTILE}", file)
    assert safe(file.getvalue())


def said(main, *argv, capsys):
    """(what a command printed, its exit code)."""
    code = 0
    try:
        run_command(main, ["command", *map(str, argv)])
    except SystemExit as error:
        code = error.code
    out, error = capsys.readouterr()
    return out + error, code


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    name = HOSTILE.replace("\ud800", "")  # which a file in UTF-8 can't hold
    save_file({name: np.zeros(3, np.float32), "b" * 10_000: np.zeros(2, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": HOSTILE, "architectures": [HOSTILE, "A" * 10_000]}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": HOSTILE, "image_mean": [0.5]}))
    return folder


def test_a_checkpoint_of_hostile_names_is_inspected(checkpoint, capsys):
    text, _ = said(inspect.main, checkpoint, capsys=capsys)
    assert safe(text)
    assert "\nfaked" not in text
    assert len(text) < 10_000


def test_a_checkpoint_of_hostile_names_is_not_converted(checkpoint, tmp_path, capsys):
    text, code = said(convert.main, checkpoint, tmp_path / "new", capsys=capsys)
    assert code == 2
    assert safe(text)
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert len(text) < 3000
    assert not (tmp_path / "new").exists()


def test_the_line_of_an_error_is_one(capsys):
    def main(argv):
        raise InputError(f"{HOSTILE} {'x' * 10**6}")

    text, code = said(main, capsys=capsys)
    assert code == 2
    assert safe(text)
    assert text.count("\n") == 1
    assert len(text) < 3000
