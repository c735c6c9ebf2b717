"""A run that goes on with another config: what changes none of its numbers is taken and told, all else refused."""

import functools
import json

import pytest
from test_resume import Stopped, bits, lines, stop_after_saves

from jtransfer import train
from jtransfer.core.errors import InputError
from jtransfer.runs import build, changes, config_file, log, stored
from jtransfer.runs import folder as folders
from jtransfer.training import checkpoint

TERM = """
from jtransfer.objectives import Term, unlabelled


def make(context):
    entropy = unlabelled.entropy(context)
    return Term(lambda view: (entropy.loss(view)[0].value * view.step / context.total_steps, {}))
"""


def config(phases, *changes):
    return config_file.load(f"tests/tiny_run.py:{phases}", [f"--config.{change}" for change in changes])


def stopped(monkeypatch, folder, made, saves):
    with monkeypatch.context() as patch:
        stop_after_saves(patch, saves)
        with pytest.raises(Stopped):
            train.run(made, folder)


def changed(folder):
    return [line for line in log.read(folder) if line.get("event") == "changed"]


@pytest.fixture(scope="module")
def two_phases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    train.run(config(2), folder)
    return folder


@pytest.fixture(scope="module")
def one_phase(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    train.run(config(1), folder)
    return folder


def test_what_changes_no_number_is_taken_and_written_down(two_phases, tmp_path, monkeypatch, capsys):
    stopped(monkeypatch, tmp_path, config(2), 3)
    before, at = json.loads((tmp_path / stored.CONFIG).read_text()), checkpoint.resolve(tmp_path)
    asked = ("log_every=4", "checkpoint_every=5", "keep={'last':1,'every':6}", "data.threads=1", "eval_every=2")
    train.run(config(2, *asked), tmp_path)
    assert bits(tmp_path) == bits(two_phases)
    (event,) = changed(tmp_path)
    assert event["step"] == at
    assert sorted(event["fields"]) == [
        "checkpoint_every: 2 → 5",
        "data.threads: 2 → 1",
        "eval_every: 3 → 2",
        "keep: 2 → {'every': 6, 'last': 1}",
        "log_every: 1 → 4",
    ]
    assert "goes on with log_every: 1 → 4" in capsys.readouterr().out
    assert stored.config(tmp_path).log_every == 4
    assert json.loads((tmp_path / "config.1.json").read_text()) == before
    train.run(config(2, *asked), tmp_path)
    assert len(changed(tmp_path)) == 1
    assert not (tmp_path / "config.2.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    {
        "optim.lr=0.5": r"take another workdir. optim.lr: 0.001 → 0.5$",
        "seed=1": r"seed: 0 → 1$",
        "batch_size=8": r"batch_size: 16 → 8$",
        "phases[0].cache=False": r"phases\[0\].cache: True → False$",
        "phases[0].steps=7": r"phases\[0\].steps: 6 → 7 \(schedule='cosine' over 7 steps has other rates than over 6,",
        "phases[0].steps=5": r"phases\[0\].steps: 6 → 5 \(phase probe has begun, and can only become longer\)",
    }.items(),
)
def test_all_else_is_refused_by_name(one_phase, change, said):
    held = {path.name: path.read_bytes() for path in one_phase.glob("*.json*")}
    with pytest.raises(InputError, match=said):
        train.run(config(1, "log_every=7", change), one_phase)
    assert {path.name: path.read_bytes() for path in one_phase.glob("*.json*")} == held


def test_what_decides_is_not_evaluated_at_other_steps(tmp_path, monkeypatch):
    validation = "data.validation=train[64:96]"
    stopped(monkeypatch, tmp_path, config(1, validation), 2)
    with pytest.raises(InputError, match=r"eval_every: 3 → 2 \(evaluations of validation choose the model"):
        train.run(config(1, validation, "eval_every=2"), tmp_path)


def test_a_phase_that_is_added_at_the_end(one_phase, two_phases, tmp_path):
    train.run(config(1), tmp_path)
    train.run(config(2), tmp_path)
    assert bits(tmp_path) == bits(two_phases)
    assert changed(tmp_path)[0]["fields"] == ["phases[1]: none → 'top'"]
    assert [phase.name for phase in stored.config(tmp_path).phases] == ["probe", "top"]
    assert bits(tmp_path) != bits(one_phase)


def test_more_steps_where_no_rate_depends_on_their_number(tmp_path):
    constant = ("optim.schedule=constant", "optim.warmup=2")
    train.run(config(1, *constant, "phases[0].steps=9"), tmp_path / "whole")
    train.run(config(1, *constant), tmp_path / "ended")
    train.run(config(1, *constant, "phases[0].steps=9"), tmp_path / "ended")
    assert bits(tmp_path / "ended") == bits(tmp_path / "whole")
    assert changed(tmp_path / "ended")[0]["fields"] == ["phases[0].steps: 6 → 9"]
    assert stored.config(tmp_path / "ended").phases[0].steps == 9
    assert lines(tmp_path / "ended")[-1]["step"] == 9


def test_what_a_step_computes_of_the_number_of_steps_is_found(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(TERM)
    asked = ("optim.schedule=constant", f"objective=['task', ('{tmp_path}/own.py:make', 1.0)]")
    stopped(monkeypatch, tmp_path / "run", config(1, *asked), 2)
    for made in (config(1, *asked, "phases[0].steps=9"), config(2, *asked)):
        with pytest.raises(InputError, match="what a step computes or holds depends on the number of steps"):
            train.run(made, tmp_path / "run")


def test_a_phase_that_has_not_begun_may_have_any_length(tmp_path, monkeypatch):
    stopped(monkeypatch, tmp_path, config(2), 2)
    for steps in (3, 9):
        found = build.prepare(config(2, f"phases[1].steps={steps}"), tmp_path)
        taken = folders.check(tmp_path, found.config, functools.partial(changes.judge, found))
        assert taken == [f"phases[1].steps: 6 → {steps}"]
        assert found.config.phases[1].steps == steps


@pytest.mark.parametrize(
    ("keep", "kept"),
    {
        "1": {6},
        "{'last':1,'every':2}": {2, 4, 6},
        "{'last':2,'every':3}": {3, 5, 6},
    }.items(),
)
def test_which_checkpoints_are_on_disk(tmp_path, keep, kept):
    train.run(config(1, f"keep={keep}", "checkpoint_every=1", "eval_every=100"), tmp_path)
    assert set(checkpoint.steps(tmp_path)) == kept


def test_the_best_checkpoints_are_on_disk(tmp_path):
    asked = ("data.validation=train[64:96]", "early_stop.metric=loss", "eval_every=1", "optim.lr=0.02", "optim.ema=0")
    train.run(config(1, *asked, "keep={'last':1,'best':3}", "phases[0].steps=8"), tmp_path)
    losses = {line["step"]: line["loss"] for line in log.read(tmp_path) if line.get("split") == "validation"}
    best = sorted(losses, key=lambda step: (losses[step], -step))[:3]
    assert len(losses) == 8
    assert set(checkpoint.steps(tmp_path)) == {8, *best}
    assert checkpoint.best(tmp_path)[0] == best[0]


def test_with_another_sharding_the_loss_is_the_same_to_rounding(one_phase, tmp_path, monkeypatch):
    stopped(monkeypatch, tmp_path, config(1), 3)
    train.run(config(1, "sharding=fsdp"), tmp_path)
    (line,) = changed(tmp_path)[0]["fields"]
    assert line.startswith("sharding: 'replicate' → 'fsdp' (sums are taken in another order")
    losses = [[one["loss"] for one in log.read(run) if one.get("split") == "train"] for run in (tmp_path, one_phase)]
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
