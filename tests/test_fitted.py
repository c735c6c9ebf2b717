"""Heads that scikit-learn fits: what they compute is what its own estimators compute, and a run of one is a run."""

import json

import jax
import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import evaluate, export, models, predict, runs, train
from jtransfer.core.errors import InputError
from jtransfer.training import estimators

sklearn_datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
linear_model = pytest.importorskip("sklearn.linear_model")
tree = pytest.importorskip("sklearn.tree")

THEIRS = {
    "decision_tree": (tree.DecisionTreeClassifier, {"max_leaf_nodes": 6}),
    "random_forest": (ensemble.RandomForestClassifier, {"max_leaf_nodes": 9, "n_estimators": 4}),
    "gradient_boosting": (ensemble.HistGradientBoostingClassifier, {"max_leaf_nodes": 5, "max_iter": 3}),
    "logistic_regression": (linear_model.LogisticRegression, {"max_iter": 3000}),
}
DATA = {"three classes": sklearn_datasets.load_iris, "two classes": sklearn_datasets.load_breast_cancer}


def fitted(name, x, y, classes, **options):
    own = {key: value for key, value in options.items() if name != "logistic_regression"}
    rest = {key: value for key, value in options.items() if key not in own}
    model = models.create(name, classes, num_features=x.shape[1], **own, options=rest)
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))["params"]["head"]
    head, _, _ = estimators.fit(name, model.estimator_options, x, y, shapes, seed=5)
    return model, {"params": {"head": head}}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", THEIRS)
def test_probabilities_are_those_of_scikit_learn(name, data):
    x, y = DATA[data](return_X_y=True)
    x = (x - x.mean(0)).astype(np.float32)
    kind, options = THEIRS[name]
    model, variables = fitted(name, x, y, int(y.max()) + 1, **options)
    theirs = kind(**options, random_state=5).fit(x, y).predict_proba(x)
    ours = jax.nn.softmax(jax.jit(model.apply)(variables, x))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("name", THEIRS)
def test_classes_without_an_example_are_never_predicted(name):
    x, y = sklearn_datasets.load_iris(return_X_y=True)
    y = np.array([1, 3, 4])[y]
    kind, options = THEIRS[name]
    model, variables = fitted(name, x.astype(np.float32), y, 6, **options)
    theirs = kind(**options, random_state=5).fit(x.astype(np.float32), y).predict_proba(x.astype(np.float32))
    ours = jax.nn.softmax(model.apply(variables, x.astype(np.float32)))
    np.testing.assert_allclose(ours[:, [1, 3, 4]], theirs, atol=2e-6)
    np.testing.assert_allclose(ours[:, [0, 2, 5]], 0, atol=1e-6)


def test_a_threshold_is_rounded_so_that_no_example_changes_sides():
    just = np.float64(np.float32(0.1))
    assert estimators._below(np.array([just, just + 1e-12, just - 1e-12])).tolist() == [
        just,
        just,
        float(np.nextafter(np.float32(0.1), np.float32(0))),
    ]


def config_of(folder, name="random_forest", **fields):
    config = tiny_vectors.config_of(folder)
    config.model.name = name
    config.model.fields = {"n_estimators": 3, "max_leaf_nodes": 8} if name == "random_forest" else {}
    config.model.fields.update(fields)
    config.phases = [configs.phase("fit", trainable="head/.*", steps=1)]
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    return folder, train.run(config_of(folder), folder / "run")


def test_a_run_is_evaluated_predicted_from_and_reported(run):
    folder, scalars = run
    assert scalars["accuracy"] > 0.8
    assert evaluate.evaluate(folder / "run").metrics["accuracy"] == pytest.approx(scalars["accuracy"])
    probs, names = predict.predict(folder / "run", ["1,2,3,4,5,6"])
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    assert len(names) == 3
    stored = runs.open(folder / "run")
    arrays = np.load(folder / "vectors.npz")
    x = (arrays["x_train"] - stored.modality.mean) / stored.modality.std
    theirs = ensemble.RandomForestClassifier(n_estimators=3, max_leaf_nodes=8, random_state=0)
    theirs.fit(x.astype(np.float32), arrays["y_train"])
    x = ((arrays["x_test"] - stored.modality.mean) / stored.modality.std).astype(np.float32)
    assert scalars["accuracy"] == pytest.approx(theirs.score(x, arrays["y_test"]))
    np.testing.assert_allclose(stored.predictions["probs"], theirs.predict_proba(x), atol=1e-5)


def test_a_run_is_the_same_each_time_and_holds_arrays_alone(run, tmp_path):
    folder, scalars = run
    assert train.run(config_of(folder), tmp_path / "again") == scalars
    one, other = (runs.open(place).variables()["params"]["head"] for place in (folder / "run", tmp_path / "again"))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not [path for path in (folder / "run").rglob("*") if path.suffix in (".pkl", ".joblib", ".pickle")]
    config = config_of(folder)
    config.seed = 1
    train.run(config, tmp_path / "other")
    assert not np.array_equal(
        runs.open(tmp_path / "other").variables()["params"]["head"]["threshold"], one["threshold"]
    )


def test_a_run_that_has_ended_goes_on_from_its_arrays(run):
    folder, scalars = run
    assert train.run(config_of(folder), folder / "run") == pytest.approx(scalars)


def test_a_fitted_run_is_exported_as_a_program(run, tmp_path):
    folder, _ = run
    export.main(["export", str(folder / "run"), str(tmp_path / "program"), "--format=stablehlo"])
    program = jax.export.deserialize(bytearray((tmp_path / "program/model.stablehlo").read_bytes()))
    flat, x = dict(np.load(tmp_path / "program/weights.npz")), np.load(folder / "vectors.npz")["x_test"]
    probs = jax.nn.softmax(program.call(flat, x))
    np.testing.assert_allclose(probs, runs.open(folder / "run").predictions["probs"], atol=1e-6)


def test_a_head_on_frozen_features(run, tmp_path):
    """The features are those of another run's network, which stays as it is."""
    folder, _ = run
    train.run(tiny_vectors.config_of(folder, steps=4), tmp_path / "net")
    config = config_of(folder)
    config.init, config.model.name = str(tmp_path / "net"), "compose"
    config.model.fields = {"source": "", "target": {"name": "decision_tree", "max_leaf_nodes": 5}}
    config.phases[0].cache = True
    scalars = train.run(config, tmp_path / "run")
    net, stored = runs.open(tmp_path / "net"), runs.open(tmp_path / "run")
    arrays = np.load(folder / "vectors.npz")
    before, after = net.variables(), stored.variables()
    assert np.array_equal(before["params"]["hidden2"]["dense"]["kernel"], after["params"]["hidden2"]["dense"]["kernel"])

    def features(x):
        return net.model.apply(before, net.modality.make_preprocess(net.model, train=False)(x), stop="head")

    theirs = tree.DecisionTreeClassifier(max_leaf_nodes=5, random_state=0)
    theirs.fit(features(arrays["x_train"]), arrays["y_train"])
    assert scalars["accuracy"] == pytest.approx(theirs.score(features(arrays["x_test"]), arrays["y_test"]))


WRONG = {
    "is fitted at once; give one phase": {"phases": [configs.phase("fit", trainable="head/.*", steps=2)]},
    "is fitted at once; give one": {"phases": [configs.phase(n, trainable="head/.*", steps=1) for n in "ab"]},
    "takes no mixup and no optim.ema": {"mixup": 0.2, "optim": {"ema": 0.9}},
    "takes no objective": {"objective": [("task", 1.0), ("l2sp", 0.1)]},
    "takes no loss.name": {"loss": {"name": "focal"}},
    "fits classes; this is task='regress'": {"task": "regress"},
    "has no option 'depth' to set": {"model": {"fields": {"options": {"depth": 3}}}},
    "has no option 'random_state' to set": {"model": {"fields": {"options": {"random_state": 3}}}},
    "needs max_leaf_nodes of at least 2": {"model": {"fields": {"max_leaf_nodes": 1}}},
    "min_samples_leaf": {"model": {"fields": {"options": {"min_samples_leaf": -4}}}},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_not_for_fitting_is_told_before_the_run(run, tmp_path, said):
    config = config_of(run[0])
    for name, value in WRONG[said].items():
        config[name].update(value) if isinstance(value, dict) else config.update({name: value})
    with pytest.raises(InputError, match=said):
        train.run(config, tmp_path / "none")
    assert said == "min_samples_leaf" or not (tmp_path / "none").exists()


def test_scikit_learn_that_is_missing_is_told_in_one_line(run, tmp_path, monkeypatch):
    find = estimators.importlib.util.find_spec
    monkeypatch.setattr(estimators.importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    with pytest.raises(InputError, match=r"random_forest needs scikit-learn: pip install 'jtransfer\[sklearn\]'"):
        train.run(config_of(run[0]), tmp_path / "none")


def test_examples_of_one_class_can_not_be_fitted():
    with pytest.raises(InputError, match="all 3 training examples are of one class"):
        estimators.fit("decision_tree", {}, np.zeros((3, 2), np.float32), np.zeros(3, int), {}, 0)


def test_adapters_before_a_fitted_head_are_refused():
    with pytest.raises(InputError, match="adapter=4 is not fitted with random_forest; leave it out"):
        models.compose("mlp", 4, "random_forest")


def test_the_config_of_a_fitted_run_is_plain_data(run):
    content = json.loads((run[0] / "run/config.json").read_text())
    assert content["model"]["fields"] == {"n_estimators": 3, "max_leaf_nodes": 8}
