"""A run's folder may be a stranger's: code that comes with it is not run, whoever opens it and however it is named."""

import json

import pytest
import tiny_vectors

from jtransfer import evaluate, export, predict, report, runs, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import named_code

EVIL = "import pathlib\npathlib.Path(r'{}').touch()\ndef f(*args, **fields): ...\n"
PLACES = {  # where a config may name code
    "modality": lambda config, name: config.update(modality=name),
    "task": lambda config, name: config.update(task=name),
    "model": lambda config, name: config["model"].update(name=name),
    "data": lambda config, name: config["data"].update(name=name),
    "loss": lambda config, name: config["loss"].update(name=name),
    "metric": lambda config, name: config.update(metrics=[name]),
    "early_stop": lambda config, name: config["early_stop"].update(metric=name),
    "evaluator": lambda config, name: config["evals"][0].update(name=name),
    "term": lambda config, name: config.update(objective=[[name, 1.0]]),
    "stream": lambda config, name: config.update(streams={"other": {"data": {"name": name}}}),
    "stream's task": lambda config, name: config.update(streams={"other": {"task": name, "data": {}}}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, its data beside it, and the content of its config."""
    folder = tmp_path_factory.mktemp("named")
    train.run(tiny_vectors.config_of(folder), folder / "run")
    return folder / "run", json.loads((folder / "run/config.json").read_text())


@pytest.fixture
def named(run):
    """Writes another name into the config of the run, and gives the folder."""
    folder, config = run

    def write(place, name, **fields):
        changed = json.loads(json.dumps(config))
        PLACES[place](changed, name)
        changed["model"]["fields"] |= fields
        (folder / "config.json").write_text(json.dumps(changed))
        return folder

    yield write
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("place", PLACES)
def test_code_in_the_folder_is_not_run(named, tmp_path, monkeypatch, place):
    folder = named(place, "evil.py:f")
    (folder / "evil.py").write_text(EVIL.format(tmp_path / "ran"))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    (tmp_path / "link").symlink_to(folder)
    for name in (
        "evil.py:f",
        f"{folder}/evil.py:f",
        f"../{folder.name}/evil.py:f",
        f"{tmp_path}/link/evil.py:f",
        "evil:f",
    ):
        with pytest.raises(InputError, match=r"config\.json names .*lies in the run's own folder"):
            runs.open(named(place, name))
        with pytest.raises(InputError, match=r"config\.json names .*lies in the run's own folder"):
            train.run(tiny_vectors.config_of(tmp_path), folder)
    with pytest.raises(InputError, match="of Python's own library"):
        runs.open(named(place, "subprocess:Popen"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("os:system", {"command": "touch {}"}),
        ("subprocess:Popen", {"args": "touch {}", "shell": True}),
        ("builtins:exec", {}),
        ("jtransfer.core.registry:load", {"address": "{}.py:f"}),
        ("numpy:load", {"file": "{}.npy", "allow_pickle": True}),
        ("jax:jit", {}),
    ],
)
def test_functions_of_others_are_no_models(named, tmp_path, capsys, name, fields):
    (tmp_path / "ran.py").write_text(EVIL.format(tmp_path / "ran"))
    ran = str(tmp_path / "ran")
    fields = {key: value.replace("{}", ran) if isinstance(value, str) else value for key, value in fields.items()}
    folder = str(named("model", name, **fields))
    commands = [
        (predict.main, f"--workdir={folder}", "1,2,3,4,5,6"),
        (evaluate.main, folder),
        (report.main, folder),
        (export.main, folder, str(tmp_path / "new"), "--format=npz"),
    ]
    for main, *args in commands:
        with pytest.raises(SystemExit) as stopped:
            run_command(main, ["command", *args])
        assert stopped.value.code == 2
        assert "not run" in capsys.readouterr().err.splitlines()[-1]
    config = tiny_vectors.config_of(tmp_path)
    config.init = folder
    with pytest.raises(InputError, match="not run"):
        train.run(config, tmp_path / "next")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "next").exists()


def test_code_of_the_users_own_is_run_and_told(named, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(EVIL.format(tmp_path / "ran"))
    monkeypatch.chdir(tmp_path)
    runs.open(named("data", "mine.py:f"))
    assert f"names code, which is run: mine.py:f ({tmp_path / 'mine.py'})" in capsys.readouterr().err
    runs.open(named("model", "flax.linen:Dense"))


def test_what_is_no_code_is_not_told(run, capsys):
    runs.open(run[0])
    assert capsys.readouterr().err == ""
    wrong = {"model": 3, "data": [], "evals": {"name": 1}, "objective": [[], 3], "streams": [1], "metrics": "loss"}
    assert named_code.check(run[0], wrong) == []
