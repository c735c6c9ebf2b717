"""A strategy is chosen by short runs that go on, on examples that are held out, and its config runs alone."""

import json

import jax
import numpy as np
import pytest
import tiny_vectors

from jtransfer import advise, models, runs, train, weights
from jtransfer import config as configs
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.reporting import page
from jtransfer.runs import config_file, log
from jtransfer.tuning import advice, budget, candidates, config_text, halving, held_out, setting, trials

CANDIDATES = ("probe@1e-2", "finetune@1e-2", "small@1e-2")


def config_of(folder, init):
    config = tiny_vectors.config_of(folder)
    config.init = str(init)
    config.phases = "auto"
    config.auto.budget, config.auto.candidates = "36 steps", CANDIDATES
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds the data, and `dead`, a network whose hidden units are never active: nothing can be learned from it."""
    folder = tmp_path_factory.mktemp("advise")
    config_of(folder, "")
    model = models.create("mlp", num_classes=3, num_features=6, widths=(8, 8))
    variables = jax.tree.map(
        lambda leaf: -np.ones(leaf.shape, np.float32), model.init(jax.random.key(0), np.ones((1, 6)))
    )
    weights.save(variables, model, folder / "dead.safetensors")
    return folder


@pytest.fixture(scope="module")
def chosen(folder):
    return advise.advise(config_of(folder, folder / "dead.safetensors"), folder / "run")


def results(found):
    """Without the time that was spent."""
    return sorted(one._replace(seconds=0) for one in found.results)


def test_what_nothing_can_be_learned_from_is_not_transferred(chosen):
    assert chosen.name == "small@0.01"
    assert "don't transfer" in chosen.lines[-1]


def test_what_is_chosen_has_seen_the_most_rounds_and_a_rival_with_the_weights_too(chosen):
    assert [one.rounds for one in chosen.results] == [2, 2, 1]
    assert [one.steps for one in chosen.results] == [15, 15, 6]  # 36 / 2 / 3, and 36 / 2 / 2 more


def test_runs_of_a_choice_never_look_at_the_test_split(chosen, folder):
    for name in CANDIDATES:
        run = runs.open(next((folder / "run/auto").glob(f"{name.partition('@')[0]}@*")))
        assert {line["split"] for line in run.lines if "split" in line} == {"train", "validation"}
        assert run.config.data.test == run.config.data.validation == "stratified(train, 67%:, seed=0)"
        assert run.config.data.train == "stratified(train, :67%, seed=0)"


def test_a_choice_that_was_stopped_goes_on_to_the_same(chosen, folder, monkeypatch):
    config, go_on, calls = config_of(folder, folder / "dead.safetensors"), trials.go_on, []

    def stopped(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        go_on(*args)

    monkeypatch.setattr(trials, "go_on", stopped)
    with pytest.raises(KeyboardInterrupt):
        advise.advise(config, folder / "again")
    again = advise.advise(config, folder / "again")
    assert len(calls) == 6
    assert results(again) == results(chosen)
    assert again.config.to_dict() == chosen.config.to_dict()
    advise.advise(config, folder / "again")
    assert len(calls) == 6


def test_the_winner_runs_in_the_folder_and_alone_with_the_same_result(chosen, folder):
    config = config_of(folder, folder / "dead.safetensors")
    there = train.run(advice.resolved(config, folder / "run"), folder / "run")
    assert train.run(config_file.load(chosen.file), folder / "alone") == there
    tested = [line for line in log.read(folder / "run") if line.get("split") == "test"]
    assert len(tested) == 1  # when the phase ends
    text = page.write(folder / "run").read_text()
    assert "What was tried" in text
    assert "finetune@0.01" in text
    assert "What was tried" not in page.write(folder / "alone").read_text()


def test_the_winner_trains_on_what_was_held_out_as_many_times(chosen):
    assert chosen.config.data.train == "train"
    assert chosen.config.data.validation == ""
    assert chosen.config.phases[0].steps == round(15 * 32 / 21)  # of 32 examples 11 were held out
    assert chosen.config.optim.schedule == "cosine"


def test_a_warm_up_is_shorter_than_each_phase(folder):
    config = config_of(folder, folder / "dead.safetensors")
    config.optim.warmup, config.auto.candidates = 20, ("lp_ft@1e-3", "probe@1e-2")
    made, found = setting.setting(config, folder / "none", "")
    lp_ft = next(one for one in found if one.strategy == "lp_ft")
    for made_config in (setting.trial(made, lp_ft), setting.winner(made, lp_ft, 18)):
        assert made_config.optim.warmup < min(phase.steps for phase in made_config.phases)


def test_another_choice_in_the_folder_is_refused(chosen, folder):
    config = config_of(folder, folder / "dead.safetensors")
    config.batch_size = 8
    with pytest.raises(InputError, match=r"holds another choice; take another workdir.*batch_size: 16 → 8"):
        advise.advise(config, folder / "run")


def test_numbers_are_chosen_by_too(folder, tmp_path):
    arrays = dict(np.load(folder / "vectors.npz"))
    arrays |= {f"y_{split}": 2 * arrays[f"x_{split}"][:, 0] for split in ("train", "test")}
    np.savez(tmp_path / "vectors.npz", **arrays)
    config = config_of(folder, folder / "dead.safetensors")
    config.reinit, config.task, config.data.name = ("head/.*",), "regress", f"npz:{tmp_path}/vectors.npz"
    config.auto.budget, config.auto.candidates = "12 steps", ("adapters@1e-2", "small@1e-2")
    found = advise.advise(config, tmp_path / "run")
    assert found.name == "small@0.01"
    assert found.lines[0].startswith(
        "32 training examples; chosen by a part held out of it, 'random(train, 67%:, seed=0)'"
    )


def test_a_clock_ends_a_choice_whose_time_is_spent(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "_LEAST", 0.01)
    config = config_of(folder, folder / "dead.safetensors")
    config.auto.budget = "0.3s"
    found = advise.advise(config, tmp_path / "run")
    assert [one.rounds for one in found.results] == [1, 1, 1]
    assert [one.steps for one in found.results] == [10, 10, 10]  # each as far as the first look at the validation split
    assert "the budget, 0.3 seconds, is spent before round 2" in capsys.readouterr().out


BAD = {
    "small": ({"auto.budget": "5 steps"}, r"too small for 3 candidates in 2 rounds; give at least 6 steps"),
    "seconds": ({"auto.budget": "3s"}, r"too small for 3 candidates in 2 rounds; give at least 30 seconds"),
    "unit": ({"auto.budget": "10 apples"}, r"budget='10 apples': give a time or a number"),
    "none": ({"auto.budget": "0m"}, r"budget='0m': give a time or a number"),
    "unknown": ({"auto.candidates": ("prob",)}, r"unknown config.auto.candidates: 'prob'; nearest: probe"),
    "rate": ({"auto.candidates": ("probe@fast",)}, r"'probe@fast': give a learning rate"),
    "scratch": ({"init": "scratch"}, r"there is nothing to transfer"),
    "gone": ({"init": "nowhere.safetensors"}, r"nowhere.safetensors"),
    "adapters": ({"adapters": (("all-linear", "lora", {}),)}, r"config.adapters: a strategy is chosen"),
    "few": ({"data.train": "train[:5]"}, r"has 5 examples of 3 classes.* at least 6"),
    "one class": ({"data.train": "class0"}, r"all examples are of one class"),
    "no labels": ({"data.label_key": "", "task": "", "data.train": "bare"}, r"label"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_told_before_anything_is_written(kind, folder, tmp_path):
    config = config_of(folder, folder / "dead.safetensors")
    changes, told = BAD[kind]
    arrays = dict(np.load(folder / "vectors.npz"))
    first = arrays["y_train"] == 0
    if kind == "one class":
        arrays |= {"x_train": arrays["x_train"][first], "y_train": arrays["y_train"][first]}
        changes = {}
    if kind == "no labels":
        arrays = {name: array for name, array in arrays.items() if name.startswith("x")}
        changes = {}
    np.savez(tmp_path / "vectors.npz", **arrays)
    config.data.name = f"npz:{tmp_path}/vectors.npz"
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=told):
        advise.advise(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_auto_is_refused_where_nothing_is_chosen(folder, tmp_path):
    with pytest.raises(InputError, match=r"config.phases='auto': give a list of phases"):
        train.run(config_of(folder, folder / "dead.safetensors"), tmp_path / "run")
    with pytest.raises(InputError, match=r"config.phases='automatic' must be a list, or 'auto'"):
        configs.complete({"phases": "automatic"})


def test_a_run_that_pauses_goes_on_to_the_same_bits(tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    config.data.validation = "test"
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=4, cache=True),
        configs.phase("finetune", steps=6),
    ]
    config.eval_every = 2
    asked = []

    def pause(step, score):
        asked.append(step)
        assert 0 <= score <= 1
        return True

    for _ in range(4):
        train.run(config, tmp_path / "paused", pause)
    paused = train.run(config, tmp_path / "paused")
    assert asked == [2, 4, 6, 8]
    assert paused == train.run(config, tmp_path / "whole")
    one, other = (runs.open(tmp_path / name).variables("last") for name in ("paused", "whole"))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90s", (90, "seconds")),
        ("1.5m", (90, "seconds")),
        ("2h", (7200, "seconds")),
        ("600 steps", (600, "steps")),
        ("600steps", (600, "steps")),
        ("6400 examples", (200, "steps")),
    ],
)
def test_budgets(text, found):
    assert budget.parse(text, 32) == found


def test_each_round_costs_the_same_and_the_last_compares_two():
    assert budget.rounds(14) == [14, 5, 2]
    assert budget.rounds(2) == [2]
    assert budget.rounds(1) == [1]
    assert budget.shares(budget.Budget(84, "steps"), 14) == [2, 84 / 3 / 5, 14]


def candidate(name):
    strategy = name.partition("@")[0]
    return candidates.Candidate(name, strategy, 1e-3, {}, ".*", False, False)


def test_the_best_with_and_without_the_weights_go_on_to_the_end():
    best = [candidate(name) for name in ("finetune", "lp_ft", "probe", "scratch", "small")]
    assert [one.name for one in halving.survivors(best, 2)] == ["finetune", "scratch"]
    assert [one.name for one in halving.survivors(best, 4)] == ["finetune", "lp_ft", "probe", "scratch"]
    assert [one.name for one in halving.survivors(best[::-1], 2)] == ["small", "probe"]
    assert [one.name for one in halving.survivors(best[:3], 2)] == ["finetune", "lp_ft"]


def source(size, kind="class"):
    return Source(size, lambda i: {}, ["a", "b"], lambda start, stop: np.arange(start, stop) % 2, kind)


@pytest.mark.parametrize(
    ("train", "size", "kind", "found"),
    [
        ("train", 10_000, "class", ("stratified(train, :80%, seed=3)", "stratified(train, 80%:, seed=3)")),
        ("train", 1000, "number", ("random(train, :70%, seed=3)", "random(train, 70%:, seed=3)")),
        ("train[:9]", 9, "classes", ("random(train[:9], :67%, seed=3)", "random(train[:9], 67%:, seed=3)")),
        (
            "grouped(patient, :80%)",
            10_000,
            "class",
            (
                "grouped(patient, grouped(patient, :80%), :80%, seed=3)",
                "grouped(patient, grouped(patient, :80%), 80%:, seed=3)",
            ),
        ),
    ],
)
def test_what_is_held_out(train, size, kind, found):
    config = configs.complete({"seed": 3, "data": {"train": train}})
    assert held_out.of(config, source(size, kind)) == found


def test_a_validation_split_that_is_named_is_taken():
    config = configs.complete({"data": {"train": "train[:90%]", "validation": "train[90%:]"}})
    assert held_out.of(config, source(10)) == ("train[:90%]", "train[90%:]")


def test_a_config_is_the_same_after_it_was_written(tmp_path):
    config = configs.default()
    config.init = 'a"b\\c'
    config.adapters = [("all-linear", "lora", {"rank": 4})]
    config.objective = [("task", 1.0), ("l2sp", {"weight": 0.1})]
    config.streams.other = {"data": {"name": "npz:x.npz"}, "share": 0.5}
    config.phases = [configs.phase("a", trainable=2, steps=3, optim={"lr": 1e-5}), configs.phase("b", epochs=0.1)]
    config_text.write(tmp_path / "winner.py", config, 'of "x"')
    again = config_file.load(str(tmp_path / "winner.py"))
    assert json.dumps(configs.fill(again), sort_keys=True) == json.dumps(configs.fill(config), sort_keys=True)


def test_the_scores_of_the_weights_are_told_beside_those_of_random_ones(chosen):
    weights_line, random_line = (line for line in chosen.lines if line.startswith("features of "))
    assert "its features of all examples are the same" in weights_line
    assert [part.split()[0] for part in random_line.partition(": ")[2].split(", ")] == ["logme", "knn", "linear_probe"]
