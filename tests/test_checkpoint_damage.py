"""What is damaged of a checkpoint is found, said, and passed over: what is read is right, or refused in a line."""

import random
import shutil

import jax
import pytest
import tiny_checkpoints as tiny
from tiny_checkpoints import data_of, flip, resumed

from jtransfer.core.errors import InputError
from jtransfer.training import checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("run"), [2, 4, 6], {2: 0.5, 4: 0.7}, keep=3)


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def test_a_bit_of_any_file_is_read_right_or_passed_over(run, capsys):
    rng, outcomes = random.Random(0), set()
    for path in sorted(path for path in (run / "checkpoints/6").rglob("*") if path.is_file() and path.stat().st_size):
        whole = path.read_bytes()
        for _ in range(4):
            flip(path, rng.randrange(8 * len(whole)))
            step, variables = checkpoint.load(run)
            err = capsys.readouterr().err
            assert tiny.is_of(variables, step)
            assert err.count("\n") == (step != 6)
            found = resumed(run)
            assert tiny.is_state_of(found.state, found.step)
            assert ("checkpoints/6 is damaged" in capsys.readouterr().err) == (found.step == 4)
            outcomes |= {step, found.step}
            path.write_bytes(whole)
    assert outcomes == {4, 6}


def test_the_run_goes_on_from_the_one_before_and_saves_the_step_again(run, capsys):
    flip(data_of(run / "checkpoints/6/optimizer"), 9001)
    found = resumed(run)
    assert found.step == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "checkpoints/6 is damaged: optimizer" in err
    assert "step 4 is taken instead" in err
    assert tiny.kept(run) == ["2", "4", "6"]  # nothing was written
    with checkpoint.open_checkpoints(run, every=1, resumed_at=4) as checkpoints:
        assert tiny.kept(run) == ["2", "4", "6.damaged"]
        tiny.save(checkpoints, run, 6)
    assert tiny.kept(run) == ["4", "6", "6.damaged"]
    assert resumed(run).step == 6
    flip(data_of(run / "checkpoints/6/state"), 9001)
    with checkpoint.open_checkpoints(run, every=1, resumed_at=4):
        assert tiny.kept(run) == ["4", "6.damaged", "6.damaged.1"]


def test_the_next_best_is_taken_for_the_best(run, capsys):
    flip(data_of(run / "checkpoints/4/state"), 77)
    step, variables = checkpoint.load(run, "best")
    assert (step, tiny.is_of(variables, 2)) == (2, True)
    assert "checkpoints/4 is damaged" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"checkpoints/4 is damaged: .*; name another step, or leave it out"):
        checkpoint.load(run, 4)


@pytest.mark.parametrize("damage", ["all", "set aside"])
def test_where_none_is_whole_nothing_begins_anew(run, damage):
    for step in (2, 4, 6):
        folder = run / "checkpoints" / str(step)
        if damage == "all":
            flip(data_of(folder / "state"), 77)
        else:
            folder.rename(f"{folder}.damaged")
    for read in (resumed, checkpoint.load_params, checkpoint.lazy_params):
        with pytest.raises(InputError, match="holds no whole checkpoint") as error:
            read(run)
        assert "\n" not in str(error.value)
        assert "remove" not in str(error.value)


def test_what_is_frozen_is_made_again_if_it_then_is_what_it_was(run, capsys):
    flip(data_of(run / "base/only/state"), 77)
    with pytest.raises(InputError, match=r"base/only is damaged: .*; start the run again: it makes it anew"):
        checkpoint.load_params(run)
    with pytest.raises(InputError, match="base/only is damaged"):
        resumed(run)
    other = jax.tree.map(lambda x: x + 1, tiny.of_step(0).frozen)
    with pytest.raises(InputError, match="base/only is damaged"):
        checkpoint.resume(run, lambda position: tiny.shapes(), lambda position: other)
    found = checkpoint.resume(run, lambda position: tiny.shapes(), lambda position: tiny.of_step(0).frozen)
    assert found.remade
    assert tiny.is_state_of(found.state, 6)
    assert "base/only is damaged: " in capsys.readouterr().err
    checkpoint.write_base(run, "only", found.state.frozen)
    assert tiny.is_of(checkpoint.load_params(run), 6)
    assert sorted(path.name for path in (run / "base").iterdir()) == ["only", "only.damaged"]
