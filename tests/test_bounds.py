"""Every hostile file of `hostile_files` is refused in one line, or read, in ten seconds and half a gigabyte."""

import json
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest

NAMES = [f"{kind} {name}" for kind, cases in hostile_files.CASES.items() for name in cases]
READ = {  # what is harmless as soon as it is bounded
    *("image 7000 x 7000.png", "image 7000 x 7000 cmyk.jpg", "image exif of 100 MB.png"),
    *("image 100000 frames.gif", "image 65000 tags.tif", "image 1000000 tags.tif"),
    *("data of the label 999999.npz", "data of long lines.csv"),
    *("data of a text of 1 kB, a million times.parquet", "data of a text of 1 MB, 3000 times.parquet"),
    "data of a label of 1 kB, a million times.parquet",
    *("tokenizer of a stride beyond its length", "tokenizer of endless padding"),
    "tokenizer of an unknown token that lacks",
    "weights of a name of 50 MB.safetensors",
    "text of 40 MB",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of each file, by its name."""
    script = Path(__file__).with_name("bounds_process.py")
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path_factory.mktemp("bounds")), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_takes_little(name, found, tmp_path):
    one = found[0][name]
    assert one["what"] == ("read" if name in READ else "refused"), one["said"]
    assert one["processor"] < 10
    assert one["megabytes"] < 500
    assert "\n" not in one["said"]
    assert len(one["said"]) < 1500


def test_nothing_else_is_said(found):
    """As a panic of a library would be, even if it is caught."""
    assert found[1] == ""


def test_there_are_many_kinds():
    assert len(NAMES) > 150
