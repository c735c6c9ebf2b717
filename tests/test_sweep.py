"""A sweep draws the same trials however often it is stopped, and its winner alone looks at the test split."""

import sys

import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import runs, sweep
from jtransfer.core.errors import InputError
from jtransfer.runs import config_file
from jtransfer.tuning import spaces, trials

VARY = ["optim.lr=log(1e-5, 1e-1)", "model.fields.widths=choice((8, 8), (4,))"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("optim.lr=log(1e-5,1e-2)", ("optim.lr", "log", (1e-5, 1e-2))),
        ("optim.weight_decay=uniform(0,0.1)", ("optim.weight_decay", "uniform", (0, 0.1))),
        ("phases[0].steps=int(10, 20)", ("phases[0].steps", "int", (10, 20))),
        ("adapters.rank=choice(4,8)", ("adapters.rank", "choice", (4, 8))),
        ("optim.name=choice(adamw, sgd)", ("optim.name", "choice", ("adamw", "sgd"))),
        ("model.fields.widths=choice((8, 8), (4,))", ("model.fields.widths", "choice", ((8, 8), (4,)))),
        ("data.transform=choice('resize(8)|flip_lr', '')", ("data.transform", "choice", ("resize(8)|flip_lr", ""))),
    ],
)
def test_spaces(text, found):
    assert spaces.parse([text]) == [found]


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        ([], "say what is varied"),
        (["optim.lr"], r"write FIELD=log\(a,b\)"),
        (["optim.lr=1e-3"], r"write FIELD=log\(a,b\)"),
        (["optim.lr=loguniform(1, 2)"], "'loguniform'; nearest"),
        (["optim.lr=log(0, 1)"], "begins above 0"),
        (["optim.lr=log(2, 1)"], "two numbers, the smaller first"),
        (["optim.lr=uniform(a, b)"], "two numbers, the smaller first"),
        (["phases[0].steps=int(1.5, 3)"], "two whole numbers"),
        (["optim.lr=choice()"], "at least one value"),
        (["optim.lr=log(1e-5, 1)", "optim.lr=choice(1.0)"], "optim.lr is varied twice"),
        (["optim.rate=log(1e-5, 1)"], "unknown config field"),
        (["optim.lr=log(1e-5, 1)", "batch_size=uniform(1, 9)"], "must be of type int"),
        (["optim.weight_decay=uniform(-1, 1)"], "must be at least 0"),
        (["adapters.rank=choice(4, 8)"], "config.adapters is empty"),
    ],
)
def test_what_states_no_space_is_told_before_anything_is_written(vary, told, tmp_path):
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match=told):
        sweep.sweep(tiny_vectors.config_of(tmp_path), tmp_path / "sweep", vary)
    assert not (tmp_path / "sweep").exists()


def test_a_field_of_all_adapters():
    config = configs.default()
    config.adapters = [("all-linear", "lora", {"rank": 2, "alpha": 4}), ("head/.*", "ia3")]
    changed = spaces.put(config, {"adapters.rank": 8})
    assert [list(row) for row in changed.adapters] == [
        ["all-linear", "lora", {"rank": 8, "alpha": 4}],
        ["head/.*", "ia3", {"rank": 8}],
    ]
    assert config.adapters[0][2]["rank"] == 2


def test_without_optuna_it_is_told_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'jtransfer\[sweep\]'"):
        sweep.sweep(tiny_vectors.config_of(tmp_path), tmp_path / "sweep", VARY)
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_that_was_stopped_goes_on_to_the_same(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    config, go_on, calls = tiny_vectors.config_of(tmp_path), trials.go_on, []
    config.eval_every = 2
    whole = sweep.sweep(config, tmp_path / "whole", VARY, 3)
    few = sweep.sweep(config, tmp_path / "again", VARY, 1)

    def stopped(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        go_on(*args)

    monkeypatch.setattr(trials, "go_on", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(config, tmp_path / "again", VARY, 3)
    again = sweep.sweep(config, tmp_path / "again", VARY, 3)
    assert few.trials == whole.trials[:1]
    assert again.trials == whole.trials
    assert again.test == whole.test
    assert len(calls) == 3
    assert max(one.metric for one in whole.trials) == whole.best.metric
    for trial in whole.trials:
        run = runs.open(tmp_path / f"whole/trial_{trial.number:04}")
        assert {line["split"] for line in run.lines if "split" in line} == {"train", "validation"}
        assert run.config.optim.lr == trial.values["optim.lr"]
        assert tuple(run.config.model.fields.widths) == trial.values["model.fields.widths"]
    winner = config_file.load(str(tmp_path / "whole/winner.py"))
    assert winner.optim.lr == whole.best.values["optim.lr"]
    assert winner.data.train == "train"
    config.batch_size = 8
    with pytest.raises(InputError, match=r"holds another sweep; take another workdir.*batch_size: 16 → 8"):
        sweep.sweep(config, tmp_path / "whole", VARY, 3)
