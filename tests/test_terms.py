"""The objective: terms add up, their weights follow schedules of optax, and their own modules are trained and kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny_vectors

from jtransfer import config as configs
from jtransfer import models, objectives, train, weights
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.runs import log
from jtransfer.runs import open as open_run
from jtransfer.training import checkpoint, optim, state, step

FILE = '''
import jax
import jax.numpy as jnp
import optax

from jtransfer.objectives import Term


def constant(context, *, value=1.0):
    """A number, whatever the model does."""
    return Term(lambda view: (jnp.float32(value), {"constant_was_asked": jnp.float32(1)}))


def size(context):
    """The mean square of what the first layer returns."""
    return Term(lambda view: (jnp.square(view.outputs["target"]["hidden1"]).mean(), {}), needs=("features:hidden1",))


def both(context):
    """The distance of two layers' outputs."""

    def loss(view):
        outputs = view.outputs["target"]
        return jnp.square(outputs["hidden1"] - outputs["hidden2"]).mean(), {}

    return Term(loss, needs=("features:hidden1", "features:hidden2"))


def probe(context):
    """A classifier of its own on the first layer."""

    def init(key, outputs):
        return {"kernel": jax.random.normal(key, (outputs["target"]["hidden1"].shape[-1], 3))}

    def loss(view):
        logits = jax.lax.stop_gradient(view.outputs["target"]["hidden1"]) @ view.variables["aux"]["probe"]["kernel"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, view.batch["target"]["label"]).mean(), {}

    return Term(loss, ("features:hidden1",), init)


def again(context):
    """The mean output of a pass of its own over inputs of zeros."""
    return Term(lambda view: (view.forward(jnp.zeros_like(view.batch["target"]["inputs"]), view.key).mean(), {}))
'''


@pytest.fixture(scope="module")
def terms(tmp_path_factory):
    """name → the address of a term of a user's."""
    path = tmp_path_factory.mktemp("terms") / "terms.py"
    path.write_text(FILE)
    return lambda name: f"{path}:{name}"


MODEL = models.create("mlp", 3, num_features=6, widths=(8, 8))


def variables_of(extra=None):
    params = jax.jit(MODEL.init)(jax.random.key(0), MODEL.example_input())["params"]
    return {"params": params, **({"aux": extra} if extra else {})}


def batch(size=8):
    inputs = jax.random.normal(jax.random.key(1), (size, 6))
    return {"inputs": inputs, "label": jnp.arange(size) % 3, "mask": jnp.ones(size, bool)}


def training(objective, variables=None, lr=0.0, accumulate=1):
    """(state, train step) by an objective's config."""
    variables = variables or variables_of()
    loss = objectives.create("softmax")
    stream = objectives.Stream(loss, lambda logits, labels, mask: {})
    made = objectives.make(objective, objectives.Context(MODEL, {"target": stream}, 10))
    mask = rules.trainable(".*", variables, MODEL.stages)
    changes = {"lr": lr, "layer_decay": 1.0, "weight_decay": 0.0}
    tx = optim.make(small.OPTIM | changes, variables, total_steps=10, trainable=mask)
    train_step = step.make_train_step(MODEL, tx, made, trainable=mask, accumulate=accumulate)
    return state.create(variables, mask, tx, seed=0), train_step


def losses(objective, steps=1, **how):
    """What the steps say, with a rate of 0 unless another is given."""
    begun, train_step = training(objective, **how)
    train_step, said = jax.jit(train_step), []
    for _ in range(steps):
        begun, metrics = train_step(begun, batch())
        said.append(jax.device_get(metrics))
    return said


def by_hand():
    """(the task's loss, the mean square of the first layer's outputs), with NumPy."""
    x, params, found = np.asarray(batch()["inputs"]), jax.device_get(variables_of()["params"]), {}
    for name in ("hidden1", "hidden2", "head"):
        x = x @ params[name]["dense"]["kernel"] + params[name]["dense"]["bias"]
        x = x if name == "head" else np.maximum(x, 0)
        found[name] = x
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    return -logs[np.arange(8), np.arange(8) % 3].mean(), np.square(found["hidden1"]).mean()


def test_terms_add_up_by_their_weights(terms):
    task, size = by_hand()
    (said,) = losses([("task", 2.0), (terms("constant"), {"weight": 3.0, "value": 5.0}), (terms("size"), 0.5)])
    assert said["task"] == pytest.approx(task, rel=1e-5)
    assert said["size"] == pytest.approx(size, rel=1e-5)
    assert said["loss"] == pytest.approx(2 * task + 15 + 0.5 * size, rel=1e-5)
    assert (said["constant"], said["constant_was_asked"]) == (5, 1)


def test_the_task_alone_says_its_loss_once():
    (said,) = losses(["task"])
    assert set(said) == {"loss", "grad_norm", "update_norm"}
    assert said["loss"] == pytest.approx(by_hand()[0], rel=1e-5)


def test_the_gradient_is_that_of_the_sum(terms):
    """Two halves of the same term move the parameters as one whole does; a term of no weight does not move them."""
    whole = losses([("task", 1.0)], 3, lr=1e-2)
    halves = losses([("task", 0.5), ("task", 0.5), (terms("size"), 0.0)], 3, lr=1e-2)
    for one, other in zip(whole, halves, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)
    assert {"task", "task_2", "size"} <= set(halves[0])


@pytest.mark.parametrize("accumulate", [1, 4])
def test_weights_follow_schedules_of_optax_by_step(terms, accumulate):
    """Whatever the parts that a batch is cut into: a step is a step."""
    rising = {"schedule": "linear_schedule", "init_value": 0.0, "end_value": 1.0, "transition_steps": 4}
    falling = {"schedule": "piecewise_constant_schedule", "init_value": 2.0, "boundaries_and_scales": {3: 0.5}}
    objective = [("task", 1.0), (terms("constant"), {"weight": rising, "value": 8.0}), (terms("size"), falling)]
    said = losses(objective, 6, accumulate=accumulate)
    task, size = by_hand()
    for number, metrics in enumerate(said):
        expected = task + 8 * min(number / 4, 1) + size * (2 if number < 3 else 1)
        assert metrics["loss"] == pytest.approx(expected, rel=1e-5), number


def test_a_step_goes_on_counting_in_the_next_phase(terms, tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    schedule = {"schedule": "linear_schedule", "init_value": 0.0, "end_value": 1.0, "transition_steps": 8}
    config.objective = [("task", 1.0), (terms("constant"), {"weight": schedule, "value": 8.0})]
    config.phases = [configs.phase("probe", trainable="head/.*", steps=3), configs.phase("all", steps=5)]
    train.run(config, tmp_path / "run")
    trained = [line for line in log.read(tmp_path / "run") if line.get("split") == "train"]
    added = [line["loss"] - line["task"] for line in trained]
    np.testing.assert_allclose(added, np.arange(8), atol=1e-4)


def products(jaxpr):
    inner = [
        part for eqn in jaxpr.eqns for part in jax.tree.leaves(list(eqn.params.values())) if hasattr(part, "jaxpr")
    ]
    return sum(eqn.primitive.name == "dot_general" for eqn in jaxpr.eqns) + sum(products(part.jaxpr) for part in inner)


def test_the_features_of_several_stages_are_of_one_pass(terms):
    """Three layers: three products forwards and five backwards (the inputs have no gradient), with features or not."""
    counts = []
    for more in ([], [terms("both")], [terms("both"), terms("size")], [terms("again")]):
        begun, train_step = training(["task", *more])
        counts.append(products(jax.make_jaxpr(train_step)(begun, batch()).jaxpr))
    assert counts[:3] == [8, 8, 8]
    assert counts[3] > 8  # a pass of its own


EXPECTED_ERRORS = [
    ([], "config.objective is empty"),
    (["taks"], "unknown objective term 'taks'; nearest: task"),
    ([("task", {"weight": 1.0, "smoothing": 1})], "unknown field of the objective term 'task': 'smoothing'"),
    ([("task", "much")], "the weight of 'task' is 'much'; give a number"),
    ([("task", True)], "the weight of 'task' is True; give a number"),
    ([("task", 1.0, 2.0)], 'is none of "name", ("name", weight)'),
    ([("task", {"schedule": "linear"})], "unknown schedule of optax 'linear'; nearest: linear_schedule"),
    (
        [("task", {"schedule": "linear_schedule", "start": 1})],
        "the weight of 'task': linear_schedule() got an",
    ),
    (["nowhere.py:term"], "there is no file 'nowhere.py'"),
]


@pytest.mark.parametrize(("objective", "says"), EXPECTED_ERRORS)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_written(objective, says, tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    config.objective = objective
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_stages_that_are_not_run_are_told_before_anything_is_written(terms, tmp_path):
    config = tiny_vectors.config_of(tmp_path, trainable="head/.*", cache=True)
    config.objective = ["task", terms("size")]
    with pytest.raises(InputError, match="not run before 'head', but a term of the objective needs 'hidden1'"):
        train.run(config, tmp_path / "run")
    config = tiny_vectors.config_of(tmp_path)
    config.model.fields = {"widths": (8,)}
    config.objective = ["task", terms("both")]
    with pytest.raises(InputError, match=r"unknown stage that .* looks at: 'hidden2'; nearest: hidden1"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Stopped(Exception):
    pass


def with_probe(terms, folder, phases=None):
    config = tiny_vectors.config_of(folder, trainable="head/.*")
    config.objective = ["task", terms("probe")]
    config.optim.lr = 0.02
    config.phases = phases or config.phases
    return config


def aux(folder, step=None):
    return checkpoint.load_params(folder, step)["aux"]["probe"]["kernel"]


@pytest.fixture(scope="module")
def probed(terms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    train.run(with_probe(terms, folder), folder / "run")
    return folder / "run"


def test_a_term_s_own_variables_are_trained_by_default(probed):
    trained = [line for line in log.read(probed) if line.get("split") == "train"]
    assert trained[-1]["probe"] < trained[0]["probe"]
    (started,) = (line for line in log.read(probed) if line.get("event") == "phase_start")
    rows = {row["group"]: row for row in started["table"]}
    assert rows["aux/probe/kernel"] == {
        "group": "aux/probe/kernel",
        "shape": "8 × 3",
        "source": "initialised",
        "status": "trainable",
        "params": 24,
        "bytes": 96,
    }
    assert rows["hidden1"]["status"] == "frozen"


def test_they_are_frozen_by_a_rule(terms, tmp_path):
    still = configs.phase("still", trainable=[("aux/.*", False), ("head/.*", True), (".*", False)], steps=4)
    config = with_probe(terms, tmp_path, [configs.phase("moving", trainable="head/.*", steps=4), still])
    kept = {}
    original = checkpoint.save

    def save(checkpoints, step, state, *args, **kwargs):
        kept[step] = jax.device_get(state.variables()["aux"]["probe"]["kernel"])
        original(checkpoints, step, state, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        train.run(config, tmp_path / "run")
    assert (kept[1] != kept[4]).all()
    for number in (5, 6, 7, 8):
        np.testing.assert_array_equal(kept[number], kept[4])
    np.testing.assert_array_equal(aux(tmp_path / "run"), kept[4])


def test_they_are_saved_and_resumed(terms, probed, tmp_path, monkeypatch):
    config = with_probe(terms, tmp_path)
    original = checkpoint.save

    def save(checkpoints, step, *args, **kwargs):
        original(checkpoints, step, *args, **kwargs)
        if step == 4:
            checkpoints.wait()
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(Stopped):
            train.run(config, tmp_path / "run")
    assert (aux(tmp_path / "run") != aux(probed)).any()
    train.run(config, tmp_path / "run")
    ended, whole = (trees.flatten(checkpoint.load_params(folder)) for folder in (tmp_path / "run", probed))
    assert set(ended) == set(whole)
    for path, leaf in whole.items():
        np.testing.assert_array_equal(ended[path], leaf, err_msg=path)


def test_they_are_no_part_of_the_model(probed, tmp_path):
    assert set(open_run(probed).variables()) == {"params"}
    export.export(probed, tmp_path / "new", "npz")
    with np.load(tmp_path / "new/model.npz") as tensors:
        paths = {f"{layer}/dense/{name}" for layer in ("hidden1", "hidden2", "head") for name in ("kernel", "bias")}
        assert set(tensors.files) == {f"params/{path}" for path in paths}
    _, variables, report = weights.restore(tmp_path / "new")
    assert (set(variables), report.reinitialised) == ({"params"}, ())
    begun = tiny_vectors.config_of(tmp_path)
    begun.init = str(probed)
    train.run(begun, tmp_path / "next")
    (loaded,) = (line for line in log.read(tmp_path / "next") if line.get("event") == "init")
    assert (loaded["loaded"], loaded["ignored"]) == (6, [])
