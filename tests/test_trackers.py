"""Trackers: what they are given, that they go on where a run goes on, and that none of them stops a training."""

import json
import sys
import types

import pytest
from test_resume import Stopped, stop_after_saves

from jtransfer import config as configs
from jtransfer import tracking, train
from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.runs import config_file, log
from jtransfer.tracking import registry, trackers

OWN = """
GIVEN = []


def make(run, *, prefix=""):
    GIVEN.append((run.name, run.id, run.step, run.config["seed"]))

    def write(step, scalars):
        GIVEN.append((step, {prefix + name: value for name, value in scalars.items()}))

    return write


def failing(run):
    def write(step, scalars):
        raise ConnectionError("no network\\nat all")

    return write


def closed(run):
    raise OSError("refused")
"""


def config(*changes, phases=1):
    return config_file.load(f"tests/tiny_run.py:{phases}", [f"--config.{change}" for change in changes])


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return f"{path}"


def given(address):
    return registry.TRACKERS[address].__globals__["GIVEN"]


@pytest.mark.parametrize(
    ("value", "expected"),
    {
        "wandb": [("wandb", {})],
        "": [],
        "('tensorboard', 'wandb')": [("tensorboard", {}), ("wandb", {})],
        "tensorboard,a.py:make": [("tensorboard", {}), ("a.py:make", {})],
        "('wandb', {'project': 'x'})": [("wandb", {"project": "x"})],
        "{'name': 'wandb', 'project': 'x'}": [("wandb", {"project": "x"})],
        "['W&B', {'name': 'mlflow', 'experiment': 'y'}]": [("wandb", {}), ("mlflow", {"experiment": "y"})],
        "()": [],
    }.items(),
)
def test_how_trackers_are_named(value, expected):
    full = configs.complete(config(f"trackers={value}"))
    assert tracking.entries(full.trackers) == expected
    assert tracking.entries(configs.complete(json.loads(full.to_json())).trackers) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    {
        "wandbb": "unknown tracker 'wandbb'; nearest: wandb",
        "('tensorboard',{'project':'x'})": "unknown field of the tracker 'tensorboard': 'project'",
        "('tb','tensorboard')": "names 'tensorboard' twice",
        "(3,4)": "3 is neither",
        "('wandb',4)": "4 is neither",
        "missing": "tracker .*: its library is missing: pip install 'jtransfer\\[missing\\]'",
    }.items(),
)
def test_a_wrong_tracker_is_refused_before_anything_is_written(tmp_path, monkeypatch, value, said):
    missing = tmp_path / "missing.py"
    error = "its library is missing: pip install 'jtransfer[missing]'"
    missing.write_text(f'from jtransfer.core.errors import InputError\nraise InputError("{error}")\n')
    known = Registry("tracker", {**registry.TRACKERS._entries, "missing": f"{missing}:make"}, {"tensorboard": ("tb",)})
    for place in (registry, trackers, tracking):
        monkeypatch.setattr(place, "TRACKERS", known)
    with pytest.raises(InputError, match=said):
        train.run(config(f"trackers={value}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_all_are_given_the_same_names_and_what_fails_stops_nothing(tmp_path, own, capsys):
    names = ["tensorboard", {"name": f"{own}:make", "prefix": "run/"}, f"{own}:failing", f"{own}:closed"]
    train.run(config(f"trackers={names}", "phases[0].steps=2"), tmp_path / "run")
    begun, *numbers = given(f"{own}:make")
    assert begun == ("run", "", 0, 0)
    lines = [line for line in log.read(tmp_path / "run") if "split" in line]
    words = ("step", "phase", "split", "protocol")
    told = [(n["step"], {f"run/{n['split']}/{k}": v for k, v in n.items() if k not in words}) for n in lines]
    assert numbers == told
    assert {"run/train/loss", "run/test/accuracy"} <= {name for _, values in numbers for name in values}
    warnings = capsys.readouterr().err.splitlines()
    assert sorted(warnings) == [
        f"warning: the tracker '{own}:closed' can't be opened, and the run goes on without it: OSError: refused",
        f"warning: the tracker '{own}:failing' fails, and the run goes on; metrics.jsonl has all numbers: "
        "ConnectionError: no network\\nat all",
    ]
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


def test_without_tensorboard_there_is_no_event_file(tmp_path):
    with log.Writer(tmp_path, terminal=False, trackers=()) as writer:
        writer.write(1, "p", "train", {"loss": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == [log.FILE]


class Fake(types.ModuleType):
    """What the three libraries have of what is used."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def note(self, *what, **fields):
        self.calls.append((*what, fields))
        return self


def fake_wandb(monkeypatch):
    fake = Fake("wandb")
    fake.id = "abc"
    fake.Settings = dict
    fake.init = lambda **fields: fake.note("init", **fields)
    fake.log = lambda values: fake.note("log", **values)
    fake.define_metric = lambda name, **fields: fake.note("define", name, **fields)
    fake.finish = lambda: fake.note("finish")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delitem(sys.modules, "jtransfer.tracking.wandb", raising=False)
    return fake


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    fake, asked = fake_wandb(monkeypatch), ("trackers=('wandb',{'project':'p','mode':'offline'})", "phases[0].steps=4")
    with monkeypatch.context() as patch:
        stop_after_saves(patch, 1)
        with pytest.raises(Stopped):
            train.run(config(*asked), tmp_path)
    assert json.loads((tmp_path / trackers.FILE).read_text()) == {"wandb": "abc"}
    train.run(config(*asked), tmp_path)
    inits = [fields for name, *_, fields in fake.calls if name == "init"]
    assert [(one["id"], one["resume"], one["project"], one["mode"]) for one in inits] == [
        (None, "allow", "p", "offline"),
        ("abc", "allow", "p", "offline"),
    ]
    assert inits[0]["config"]["optim"]["lr"] == 1e-3
    logged = [fields for name, *_, fields in fake.calls if name == "log" and "train/loss" in fields]
    assert [one["step"] for one in logged][-2:] == [3, 4]
    assert ("define", "*", {"step_metric": "step"}) in fake.calls
    assert fake.calls[-1] == ("finish", {})


def test_a_tracker_that_hangs_does_not_hold_the_end_of_a_run(tmp_path, monkeypatch, capsys):
    import threading

    waits = threading.Event()
    monkeypatch.setattr(trackers, "_PATIENCE", 0.01)
    hanging = trackers._Remote("slow", tracking.Tracker(lambda step, scalars: waits.wait()))
    hanging.write(1, {"train/loss": 1.0})
    hanging.close()
    waits.set()
    assert "the tracker 'slow' has not taken all numbers within 0 s" in capsys.readouterr().err
