"""A new folder appears whole under its name, and nothing that was there before is removed."""

import contextlib
import os
import stat

import pytest

from jtransfer.core import new_folder
from jtransfer.core.errors import InputError


def write(dest, text="new"):
    with new_folder.new(dest) as partial:
        (partial / "file").write_text(text)


@pytest.mark.parametrize("name", ["my.part", "my.tmp", "my.00000000.part", ".my.part"])
@pytest.mark.parametrize("fails", [False, True])
def test_folders_of_like_names_stay_as_they_are(name, fails, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    if fails:
        with pytest.raises(ZeroDivisionError), new_folder.new(tmp_path / "my"):
            raise ZeroDivisionError
    else:
        write(tmp_path / "my")
    assert (tmp_path / name / "thesis.tex").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} == {name} | ({"my"} - {"my" * fails})


def test_a_failure_leaves_no_folder_above_that_was_made_for_it(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), new_folder.new(tmp_path / "a" / "b" / "c" / "my"):
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_what_appears_at_the_place_meanwhile_is_kept_and_so_is_what_was_written(tmp_path):
    dest = tmp_path / "my"
    with contextlib.ExitStack() as writing:
        partial = writing.enter_context(new_folder.new(dest))
        (partial / "file").write_text("new")
        dest.mkdir()
        (dest / "thesis.tex").write_text("years of work")
        with pytest.raises(InputError, match=f"can't be written.* whole in {partial}"):
            writing.close()
    assert (dest / "thesis.tex").read_text() == "years of work"
    assert (partial / "file").read_text() == "new"


def test_a_folder_has_the_usual_rights(tmp_path):
    (tmp_path / "other").mkdir()
    write(tmp_path / "my")
    assert stat.S_IMODE(os.stat(tmp_path / "my").st_mode) == stat.S_IMODE(os.stat(tmp_path / "other").st_mode)


@pytest.mark.parametrize("exists", [False, True])
def test_a_link_is_followed_to_a_new_or_empty_folder(exists, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    if exists:
        (tmp_path / "disk").mkdir()
    write(tmp_path / "link")
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_place_where_no_folder_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("file", "file/my", "loop", "loop/my"):
        with pytest.raises(InputError, match="give a"):
            new_folder.check_new(tmp_path / place)


def test_what_a_killed_call_left_is_told_and_stays(tmp_path, capsys):
    left = new_folder.beside(tmp_path / "my")
    left.mkdir()
    (tmp_path / "my.part").mkdir()
    new_folder.tell_leftovers(tmp_path / "my")
    assert capsys.readouterr().out.count("is of a call") == 1
    assert left.is_dir()
