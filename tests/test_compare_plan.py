"""What a comparison is of: the grid, the splits of its runs, and what is refused before anything is written."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny_vectors

from jtransfer import data
from jtransfer.comparing import compared, plan, vary, work
from jtransfer.core.errors import InputError
from jtransfer.runs import config_file

ROOT = Path(__file__).parent.parent


def config_of(folder, **changes):
    config = tiny_vectors.config_of(folder)
    config.data.train, config.data.validation = "train[:24]", "train[24:]"
    config.update_from_flattened_dict(changes)
    return config


def names(*texts):
    return [one.name for one in vary.parse(texts)]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ((), ["config"]),
        (("optim.lr=1e-3,3e-3",), ["optim.lr=1e-3", "optim.lr=3e-3"]),
        (("optim.lr=1,2", "init=a,b"), [f"optim.lr={lr}, init={init}" for lr in "12" for init in "ab"]),
        (("config.init=scratch,hf://a/b@v1:f",), ["init=scratch", "init=hf://a/b@v1:f"]),
        (("data.train=train[:9],random(:80%, seed=0)",), ["data.train=train[:9]", "data.train=random(:80%, seed=0)"]),
        (("reinit=('a','b'),()",), ["reinit=('a','b')", "reinit=()"]),
        (("init='a,b',\"c\"",), ["init='a,b'", 'init="c"']),
        (('adapters=[(".*", "lora", {"rank": 8})],()',), ['adapters=[(".*", "lora", {"rank": 8})]', "adapters=()"]),
        (("lora: adapters=[]; optim.lr=1e-3",), ["config", "lora"]),
        (("base:", "lora: optim.lr=2"), ["base", "lora"]),
        (
            ("a: optim.lr=1", "batch_size=8,16", "b: optim.lr=2"),
            [f"{n}, batch_size={b}" for n in "ab" for b in (8, 16)],
        ),
    ],
)
def test_a_grid(texts, wanted):
    assert names(*texts) == wanted


def test_values_are_of_the_types_of_their_fields():
    base = plan.plain(config_file.configs.default())

    def value(text):
        return vary.changed(base, vary.parse([text])[-1])

    assert value("optim.lr=1")["optim"]["lr"] == 1.0
    assert value("init='a,b'")["init"] == "a,b"
    assert value("reinit=('head/.*',)")["reinit"] == ("head/.*",)
    assert value("loss.balanced=true")["loss"]["balanced"] is True
    assert value("model.fields.widths=(8,8)")["model"]["fields"] == {"widths": (8, 8)}
    assert value("phases[0].epochs=2")["phases"][0]["epochs"] == 2.0
    assert value("model.dtype=bfloat16")["model"]["dtype"] == "bfloat16"
    both = value("probe: phases=[{'name': 'probe', 'trainable': 'head/.*', 'steps': 5}]; optim.lr=0.1")
    assert [(one["name"], one["steps"], one["cache"]) for one in both["phases"]] == [("probe", 5, False)]
    assert both["optim"]["lr"] == 0.1


WRONG = {
    "--vary=optim.lrr=1,2": "unknown config field 'config.optim.lrr'; nearest: config.optim.lr",
    "--vary=optim.lr=1e-3,abc": "must be of type float",
    "--vary=batch_size=8,1.5": "must be of type int",
    "--vary=optim.lr=1e-3,0.001": "'optim.lr=1e-3' and 'optim.lr=0.001' are the same config",
    "--vary=optim.lr=1e-3,1e-3": "gives 'optim.lr=1e-3' twice",
    "--vary=optim.lr=1,": "write FIELD=VALUE,VALUE",
    "--vary=optim.lr": "write FIELD=VALUE,VALUE",
    "--vary=optim.lr=-1,1": "config.optim.lr=-1.0 must be at least 0",
    "--vary=a: optim.lr=1; optim.lr=2": "a field is set twice",
    "--vary=a: phases=[{'nam': 1}]": "unknown field of phase: 'nam'; nearest: name",
    "--vary=seed=1,2": "give --seeds=N",
    "--vary=data.test=train,test": "the test split is one for all",
    "--vary=optim.lr=(1": "without its other half",
    "--vary=init=scratch,/nowhere/x": "init=/nowhere/x: .*no weights at",
    "--config.data.train=train[:1]": "all examples of 'train\\[:1\\]' are of the class '0'",
    "--config.data.test=tset": "there is no split 'tset'",
    "--seeds=0": "give 1 or more",
    "--folds=1": "give 2 or more",
    "--folds=9": "the class '0' has 8 examples, fewer than folds",
    "--labels=2,9": "asks for 9 examples of each class, and the class '0' has 8",
    "--labels=2,2": "each once",
    "--labels=0": "numbers from 1 on",
    "--labels=few": "write numbers of labels",
    "--group=patient": "give --folds=5",
    "--folds=2 --group=patient": "no further array 'patient'|has no columns",
    "--config.data.validation=": "there is nothing to compare on",
    "--folds=2 --vary=data.train=train[:12],train[12:24]": "would be compared on other examples",
    "--processes=0": "give 1 or more",
    "--task=6": "numbered from 0 to 0",
    "--task=1/1": "write the number of a run",
    "--workdir=": "give the comparison a folder",
    "--list --task=0": "give one of them",
    "stray": "unexpected argument 'stray'",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_comparisons_are_refused_before_anything_is_written(tmp_path, arguments):
    from jtransfer import compare

    config_of(tmp_path)
    (tmp_path / "config.py").write_text(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import pathlib, test_compare_plan\n"
        f"def get_config():\n    return test_compare_plan.config_of(pathlib.Path({str(tmp_path)!r}))\n"
    )
    flags = arguments.split(" --") if arguments.startswith("--vary=a") is False else [arguments]
    given = [flag if number == 0 else f"--{flag}" for number, flag in enumerate(flags)]
    with pytest.raises(InputError, match=WRONG[arguments]) as told:
        compare.main(["compare", f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/all", *given])
    assert "\n" not in str(told.value)
    assert not (tmp_path / "all" / "runs").exists()
    assert not (tmp_path / "all").exists() or arguments.startswith("--task")


def made(folder, *texts, **how):
    base = plan.plain(config_of(folder))
    return plan.Plan(str(folder / "all"), base, tuple(vary.parse(texts)), **how)


def test_runs_never_see_the_test_split_and_folds_are_all_examples_once(tmp_path):
    found = made(tmp_path, "optim.lr=1,2", seeds=2, folds=3, drawn="stratified", labels=(2, 4))
    cells = plan.cells(found)
    assert len(cells) == len(set(cells)) == 2 * 2 * 3 * 2
    whole = data.open(found.config["data"], "train[:24]")
    seen: dict[tuple, list[int]] = {}
    for cell in cells:
        config = plan.config_of(found, cell)
        assert config.data.test != "test"
        held, trained = (data.open(config.data.to_dict(), config.data[name]) for name in ("test", "train"))
        assert not set(held.numbers) & set(trained.numbers)
        assert np.bincount(trained.labels).tolist() == [cell.labels] * 3
        seen.setdefault((cell.variation, cell.seed, cell.labels), []).extend(held.numbers.tolist())
        assert config.seed == cell.seed
    assert all(sorted(numbers) == whole.numbers.tolist() for numbers in seen.values())
    few, more = (
        set(data.open(found.config["data"], plan.splits(found, cell, "train[:24]", "")[0]).numbers)
        for cell in (cells[0], cells[2])
    )
    assert few < more


def test_without_folds_the_validation_split_is_what_is_compared_on(tmp_path):
    config = plan.config_of(made(tmp_path), plan.Cell(0, 5))
    assert (config.data.test, config.data.validation, config.data.train) == ("train[24:]", "train[24:]", "train[:24]")


def test_an_evaluation_of_what_is_compared_on_is_there(tmp_path):
    config = config_of(tmp_path, evals=())
    found = made(tmp_path)._replace(config=plan.plain(config))
    assert [(one["name"], one["split"]) for one in plan.config_of(found, plan.Cell(0, 0)).evals] == [("split", "test")]


def test_folders_tell_the_values_and_are_one_for_each_cell(tmp_path):
    found = made(tmp_path, "init=scratch,pypi://x,pypi:/x", "optim.lr=1e-3", seeds=2, labels=(5, 9))
    places = [plan.place(found, cell) for cell in plan.cells(found)]
    assert len({str(place).lower() for place in places}) == len(places)
    assert places[0].relative_to(tmp_path / "all").parts[0] == "runs"
    assert "init=scratch" in places[0].parent.name
    assert places[0].name == "labels5-seed0"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3", [3]), ("0,4", [0, 4]), ("2-5", [2, 3, 4, 5]), ("0/3", [0, 3, 6]), ("2/3", [2, 5]), ("0-1,7", [0, 1, 7])],
)
def test_tasks(text, wanted):
    assert work.tasks_of(text, 8) == wanted


def test_a_comparison_grows_and_is_otherwise_its_own(tmp_path):
    begun = compared.begun(config_of(tmp_path), ["optim.lr=1,2"], workdir=tmp_path / "all")
    assert plan.read(str(tmp_path / "all")) == begun
    more = {"workdir": tmp_path / "all", "seeds": 2}
    assert compared.begun(config_of(tmp_path), ["optim.lr=1,2,3"], **more).seeds == 2
    for changes, how, says in (
        ({"batch_size": 8}, {}, "batch_size: 16 → 8"),
        ({}, {"folds": 2}, "folds: 0 → 2"),
        ({}, {"labels": (2, 4)}, "labels: without a curve"),
    ):
        with pytest.raises(InputError, match=says):
            compared.begun(config_of(tmp_path, **changes), ["optim.lr=1,2"], workdir=tmp_path / "all", **how)
    with pytest.raises(InputError, match="is a file; give a folder"):
        compared.begun(config_of(tmp_path), [], workdir=tmp_path / "vectors.npz")
    (tmp_path / "all" / plan.FILE).write_text("{}")
    with pytest.raises(InputError, match=r"comparison.json is damaged: it does not hold a comparison"):
        compared.begun(config_of(tmp_path), [], workdir=tmp_path / "all")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(InputError, match="holds no comparison"):
        compared.begun(config_of(tmp_path), [], workdir=tmp_path / "other")


@pytest.mark.parametrize("script", ["slurm_array.sh", "tpu_queue.sh"])
def test_launch_scripts_say_how_they_are_called(script):
    path = ROOT / "launch" / script
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"launch/{script}" in done.stderr
