"""Every hostile file of `hostile_files` is refused in one line, or read, in ten seconds and half a gigabyte."""

import bounds_process
import hostile_files
import pytest

NAMES = [name for name in hostile_files.names() if name not in hostile_files.LONG]  # which faults.py has


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of each file, by its name."""
    return bounds_process.run(tmp_path_factory.mktemp("bounds"), NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_takes_little(name, found):
    assert not bounds_process.wrong(found[0][name])


def test_nothing_else_is_said(found):
    """As a panic of a library would be, even if it is caught."""
    assert found[1] == ""


def test_there_are_many_kinds():
    assert len(NAMES) > 140
