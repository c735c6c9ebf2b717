"""Terms of domain adaptation: transport against linear programmes, pseudo-labels against NumPy, and what is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_transfer_terms as terms
from scipy.optimize import linprog
from test_transfer_terms import MAIN_TARGET, MASK, SOURCE, TARGET, batches, context, padded

from jtransfer import objectives
from jtransfer.core.errors import InputError
from jtransfer.objectives import discriminator, pseudo_labels
from jtransfer.objectives.sinkhorn import squared_distances, transport
from jtransfer.objectives.sums import values
from jtransfer.objectives.term import View

A, B = np.array([0.1, 0.3, 0.15, 0.2, 0.05, 0.2]), np.array([0.25, 0.05, 0.1, 0.3, 0.1, 0.2])
COST = ((SOURCE[:, None] - TARGET) ** 2).sum(-1)


def cheapest(cost, a, b):
    """The plan of optimal transport, by SciPy."""
    n, m = cost.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    return found.fun, found.x.reshape(n, m)


def test_transport_tends_to_the_linear_programme():
    value, plan = cheapest(COST, A, B)
    errors = [abs(float(transport(COST, A, B, epsilon=e, iterations=3000)) - value) for e in (1.0, 0.1, 1e-2, 1e-3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * value + 1e-3 * np.log(36)  # the entropy is at most that of 36 pairs
    slope = jax.grad(lambda c: transport(c, A, B, epsilon=1e-3, iterations=3000))(jnp.asarray(COST, jnp.float32))
    np.testing.assert_allclose(slope, plan, atol=1e-3)


def test_transport_of_a_regularised_problem_has_the_marginals_and_the_dual_value():
    """The plan is the gradient; primal and dual agree where it has converged."""
    epsilon = 0.5
    value, plan = jax.value_and_grad(lambda c: transport(c, A, B, epsilon=epsilon, iterations=500))(
        jnp.asarray(COST, jnp.float32)
    )
    np.testing.assert_allclose(plan.sum(1), A, atol=1e-6)
    np.testing.assert_allclose(plan.sum(0), B, atol=1e-6)
    plan = np.asarray(plan, np.float64)
    primal = (plan * COST).sum() + epsilon * (plan * np.log(plan / np.outer(A, B))).sum()
    assert float(value) == pytest.approx(primal, rel=1e-6)


def test_points_of_no_weight_do_not_matter():
    share = MASK / MASK.sum()
    cost = squared_distances(padded(SOURCE), padded(TARGET))
    found = transport(cost, share, share, epsilon=0.3)
    assert float(found) == pytest.approx(float(transport(cost[:6, :6], A * 0 + 1 / 6, A * 0 + 1 / 6, epsilon=0.3)))
    slope = jax.grad(lambda c: transport(c, share, share, epsilon=0.3))(cost)
    assert not np.asarray(slope)[6:].any()
    assert not np.asarray(slope)[:, 6:].any()


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def of_shot(features, logits, rounds=1):
    """Labels by SHOT's own procedure, in NumPy and float64."""
    p = softmax(logits)
    x = np.concatenate([features, np.ones((len(features), 1))], 1)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    allowed = np.flatnonzero(np.bincount(p.argmax(1), minlength=p.shape[1]) > 0)
    weights = p
    for _ in range(rounds + 1):
        centres = weights.T @ x / (1e-8 + weights.sum(0)[:, None])
        unit = centres[allowed] / np.linalg.norm(centres[allowed], axis=1, keepdims=True)
        labels = allowed[(1 - x @ unit.T).argmin(1)]
        weights = np.eye(p.shape[1])[labels]
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_centroids_are_those_of_numpy(seed):
    rng = np.random.default_rng(seed)
    logits, features = rng.normal(size=(20, 5)) * [1, 1, 1, 1, 0] - [0, 0, 0, 0, 9], rng.normal(size=(20, 7))
    expected = of_shot(features, logits)
    assert 4 not in expected  # no example is predicted to be of the last class
    found = pseudo_labels.of_centroids(features, jnp.asarray(logits), jnp.ones(20, bool))
    np.testing.assert_array_equal(found, expected)
    more = [np.concatenate([x, 50 * np.ones((3, x.shape[1]))]) for x in (features, logits)]
    found = pseudo_labels.of_centroids(more[0], jnp.asarray(more[1]), np.arange(23) < 20)
    np.testing.assert_array_equal(found[:20], expected)


def view(logits, strong=None, labels=None):
    mask = jnp.arange(len(logits)) < 5
    outputs = {"target": {"head": jnp.asarray(logits), "hidden2": jnp.asarray(TARGET)}}
    batch = {"target": {"mask": mask, "strong": "strong", "target": labels, "label": labels}}
    return View(outputs, batch, {}, None, jax.random.key(0), jnp.int32(0), lambda x, key: jnp.asarray(strong))


def value(term, seen):
    return objectives.make([term], context(("target",)))(seen)


def test_fixmatch_learns_of_certain_examples_alone():
    strong, p = np.roll(MAIN_TARGET, 1, 1), softmax(MAIN_TARGET)
    threshold = float(np.sort(p.max(1)[:5])[2]) - 1e-6  # three of five examples are above it
    used = (p.max(1) >= threshold)[:5]
    expected = (-np.log(softmax(strong)[np.arange(6), p.argmax(1)])[:5] * used).sum() / 5
    loss, metrics = value(("fixmatch", {"threshold": threshold}), view(MAIN_TARGET, strong))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["fixmatch/used"]) == pytest.approx(0.6)
    loss, _ = value(("pseudo", {"threshold": threshold}), view(MAIN_TARGET))
    assert float(loss) == pytest.approx((-np.log(p.max(1))[:5] * used).sum() / 5, rel=1e-6)


def test_fixmatch_above_certainty_is_the_supervised_loss():
    seen = view(MAIN_TARGET, np.roll(MAIN_TARGET, 1, 1), jnp.arange(6) % 3)
    loss, _ = value(("task", 1.0), seen)
    both, metrics = objectives.make(["task", ("fixmatch", {"threshold": 1.1})], context(("target",)))(seen)
    assert float(both) == float(loss)
    assert float(metrics["fixmatch/used"]) == 0


ENTRIES = [
    ("sinkhorn", {}),
    ("sinkhorn", {"labels": 0.5, "debiased": False}),
    ("shot", {}),
    ("pseudo", {"threshold": 0.4}),
    ("dann", {"partial": True}),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_each_term_trains_alike_in_one_pass_and_in_parts(entry):
    ends = []
    for accumulate in (1, 4):
        current, train_step = terms.training([("task", {"on": ["source"]}), entry], accumulate)
        current, metrics = train_step(current, batches())
        assert np.isfinite(float(metrics[entry[0]]))
        ends.append(current.trainable)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *ends)


def test_partial_adaptation_counts_the_source_by_the_classes_of_the_target():
    current, train_step = terms.training([("dann", {"partial": True, "gamma": 0.0})], lr=0.0)
    given = batches()
    _, metrics = train_step(current, given)
    params, network = current.trainable["params"], discriminator.Scorer((1024, 1024))
    p, scores = {}, {}
    for name, batch in given.items():
        outputs = terms.MODEL.apply({"params": params}, batch["inputs"], outputs=("hidden2", "head"))
        p[name] = softmax(np.asarray(outputs["head"], np.float64))[:7]
        scores[name] = np.asarray(network.apply({"params": current.trainable["aux"]["dann"]}, outputs["hidden2"]))[
            :7, 0
        ]
    shares = p["target"].mean(0) / p["target"].mean(0).max()
    weights = shares[np.arange(7) % 3]
    losses = np.log1p(np.exp(-scores["source"])), np.log1p(np.exp(scores["target"]))
    expected = 0.5 * (losses[0] * weights).sum() / weights.sum() + 0.5 * losses[1].mean()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_adda_sets_a_discriminator_against_features_of_the_network_that_the_run_began_with():
    asked = []

    def initially(stream, stages):
        asked.append((stream, stages))
        return {"hidden2": jnp.asarray(SOURCE)}

    term = objectives.make([("adda", {"widths": ()})], context()).terms["adda"]
    own = {"out": {"kernel": jnp.ones((4, 1)), "bias": jnp.full(1, 0.1)}}
    batch = {"source": {"mask": jnp.ones(6, bool)}, "target": {"mask": jnp.arange(6) < 5}}

    def loss(own, features):
        outputs = {"target": {"hidden2": features}}
        view = View(outputs, batch, {}, None, jax.random.key(0), jnp.int32(0), None, own, initially=initially)
        return term.loss(view)

    s, t = SOURCE.sum(1) + 0.1, TARGET.sum(1)[:5] + 0.1
    parts, metrics = values(loss(own, jnp.asarray(TARGET)))
    expected = 0.5 * np.log1p(np.exp(-s)).mean(), 0.5 * np.log1p(np.exp(t)).mean(), np.log1p(np.exp(-t)).mean()
    np.testing.assert_allclose(parts, expected, rtol=1e-6)
    assert float(metrics["adda/told_apart"]) == pytest.approx(((s > 0).sum() + (t <= 0).sum()) / 11)
    assert asked[0] == ("source", ("hidden2",))

    def total(own, features):
        return sum(values(loss(own, features))[0])

    of_own, of_features = jax.grad(total, (0, 1))(own, jnp.asarray(TARGET))
    sigmoid = 1 / (1 + np.exp(-np.append(s, t)))
    slopes = np.append((sigmoid[:6] - 1) / 12, sigmoid[6:] / 10)  # the encoder's has the other label
    np.testing.assert_allclose(of_own["out"]["bias"], [slopes.sum()], rtol=1e-5)
    np.testing.assert_allclose(of_features[:5, 0], (sigmoid[6:] - 1) / 5, rtol=1e-5)


def test_equal_domains_are_at_no_sinkhorn_divergence():
    made = objectives.make([("sinkhorn", {"at": "hidden2"})], context())
    mask = jnp.ones(6, bool)
    outputs = {"target": {"hidden2": jnp.asarray(TARGET)}, "source": {"hidden2": jnp.asarray(TARGET[::-1].copy())}}
    seen = View(outputs, {name: {"mask": mask} for name in outputs}, {}, None, jax.random.key(0), jnp.int32(0), print)
    assert float(made(seen)[0]) == pytest.approx(0, abs=1e-5)
    seen = seen._replace(outputs={**outputs, "source": {"hidden2": jnp.asarray(TARGET + 2.0)}})
    assert float(made(seen)[0]) == pytest.approx(4.0, rel=2e-2)  # a shift by 2 in each number moves each by 4


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("sinkhorn", {"epsilon": 0}), "epsilon=0 of 'sinkhorn'"),
        (("sinkhorn", {"labels": 0.1}), "'sinkhorn' with labels is not debiased"),
        (
            ("fixmatch", {"threshold": 0}),
            "threshold=0 of 'fixmatch' is of no kind that it takes; give a finite number above 0",
        ),
        (("pseudo", {"threshold": -1}), "threshold=-1 of 'pseudo'"),
        (("shot", {"rounds": -1}), "rounds=-1 of 'shot'"),
        (("shot", {"stream": "sauce"}), "'shot' needs the stream 'sauce'"),
        (("adda", {"source": "sauce"}), "'adda' needs the stream 'sauce'"),
        (("fixmatch", {"treshold": 0.9}), "unknown field of the objective term 'fixmatch': 'treshold'"),
    ],
)
def test_what_is_wrong_is_one_line(entry, says):
    with pytest.raises(InputError) as error:
        objectives.make([entry], context())
    assert says in str(error.value)
