"""Ways to fuse weights: the numbers of mergekit, Hugging Face's PEFT and KnOTS, and what must hold of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import fusion, models
from jtransfer.core.errors import InputError
from jtransfer.fusion import interpolating, stacking

A = [[1, -2, 0.3], [0.5, -0.1, 4]]
B = [[-0.5, -1, 0.2], [2, 0.6, -5]]
C = [[0.2, 0.1, -0.9], [1, -0.7, 0.05]]
CHANGES = np.array([A, B, C])
WEIGHTS = (1, 2, 0.5)
BASE = np.full((2, 3), 0.1)

KNOTS = [[0.10404333, -2.84951741, -0.76122492], [3.23610551, 1.27618039, -10.1509936]]
OF_LIBRARIES = [  # run with PEFT 0.21.2, with mergekit's functions of October 2025, and with KnOTS' steps in torch
    ("task_arithmetic", {}, [[0.1, -3.95, 0.25], [5, 0.75, -5.975]]),
    ("magnitude", {"density": 0.5}, [[1, -4, -0.45], [4.5, -0.35, -6]]),
    ("ties", {"density": 0.5, "convention": "total"}, [[1, -2, -0.45], [2.25, -0.35, -10]]),
    ("ties", {"density": 0.5, "convention": "frequency"}, [[1, -2, -0.45], [2.25, -0.35, 4]]),
    ("ties", {"density": 0.5, "convention": "weighted"}, [[1, -4 / 3, -0.9], [1.8, -0.7, -5]]),
    ("ties", {"density": 0.5, "convention": "weighted_sum"}, [[1, -4, -0.45], [4.5, -0.35, -10]]),
    ("breadcrumbs", {"density": 0.5, "gamma": 0.2}, [[1.1, -4, -0.45], [4.5, 0.85, 0]]),
    ("breadcrumbs", {"density": 0.8, "gamma": 0.5}, [[0.1, -1.95, 0.7], [0.5, 0.75, 0.025]]),
]


def of_changes(how, changes=CHANGES, weights=WEIGHTS, **fields):
    """What a way to fuse adds to a base."""
    trees = [{"layer": {"kernel": BASE + change}} for change in changes]
    return (
        fusion.fuse(trees, how, base={"layer": {"kernel": BASE}}, weights=weights, **fields)["layer"]["kernel"] - BASE
    )


@pytest.mark.parametrize(("how", "fields", "expected"), OF_LIBRARIES)
def test_the_numbers_of_the_libraries(how, fields, expected):
    np.testing.assert_allclose(of_changes(how, **fields), expected, atol=1e-6)


@pytest.mark.parametrize(("how", "fields", "expected"), [row for row in OF_LIBRARIES if row[0] != "task_arithmetic"])
def test_arrays_of_jax_give_the_same(how, fields, expected):
    found = jax.jit(lambda x: fusion.METHODS[how].fuse(x, WEIGHTS, **fields))(jnp.asarray(CHANGES))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_slerp_is_mergekits():
    trees = [{"kernel": np.array(A)}, {"kernel": np.array(B)}]
    found = fusion.fuse(trees, "slerp", t=0.3)["kernel"]
    expected = [[0.92868833, -3.61808327, 0.58673016], [2.4451391, 0.39132548, 1.07369342]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("t", [0, 0.25, 1])
def test_slerp_keeps_the_length_and_ends_at_its_ends(t):
    ends = np.array([[3.0, 0, 4], [0, 5, 0]])
    found = interpolating.slerp(ends, t=t)
    np.testing.assert_allclose(np.linalg.norm(found), 5)
    if t in (0, 1):
        np.testing.assert_allclose(found, ends[t], atol=1e-12)
    np.testing.assert_allclose(interpolating.slerp(np.stack([ends[0], 2 * ends[0]]), t=t), ends[0] * (1 + t))


def test_stock_is_mergekits():
    trees = [{"kernel": np.array(one)} for one in (A, B, C)]
    found = fusion.fuse(trees, "stock", base={"kernel": BASE})["kernel"]
    expected = [[0.00172209, 0.88622326, 0.27198634], [-0.68622326, 0.22284739, 0.40711846]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_knots_is_that_of_its_authors_with_pefts_ties():
    np.testing.assert_allclose(of_changes("knots", density=0.5), KNOTS, atol=1e-6)
    biases = CHANGES[:, 0]
    np.testing.assert_allclose(
        fusion.knots(biases, WEIGHTS, density=0.4), fusion.ties(biases, WEIGHTS, density=0.4), atol=1e-12
    )


@pytest.mark.parametrize("how", ["task_arithmetic", "magnitude", "breadcrumbs", "dare", "dare_ties", "ties", "knots"])
def test_one_change_that_is_kept_whole_is_that_change(how):
    fields = {} if how == "task_arithmetic" else {"density": 1.0}
    np.testing.assert_allclose(of_changes(how, CHANGES[:1], [1], **fields), A, atol=1e-6)


def test_wise_and_uniform_soups_of_linear_models_are_averaged_logits():
    rng = np.random.default_rng(0)
    heads = [{"kernel": rng.normal(size=(5, 3)), "bias": rng.normal(size=3)} for _ in range(3)]
    x = rng.normal(size=(7, 5))
    logits = [x @ head["kernel"] + head["bias"] for head in heads]
    uniform = fusion.fuse(heads)
    np.testing.assert_allclose(x @ uniform["kernel"] + uniform["bias"], np.mean(logits, 0), atol=1e-12)
    wise = fusion.fuse(heads[1:2], "wise", base=heads[0], alpha=0.2)
    expected = 0.8 * logits[0] + 0.2 * logits[1]
    np.testing.assert_allclose(x @ wise["kernel"] + wise["bias"], expected, atol=1e-12)


def test_an_average_of_checkpoints_decays():
    mean = 1.0
    for value in (2.0, 5.0, -1.0):
        mean = 0.9 * mean + 0.1 * value
    assert np.dot(fusion.decaying(4, 0.9), [1, 2, 5, -1]) == pytest.approx(mean)
    assert sum(fusion.decaying(4, 0.9)) == pytest.approx(1)


def test_fisher_weighs_each_number():
    trees, information = [{"k": np.array(one)} for one in (A, B)], [{"k": np.zeros((2, 3))} for _ in range(2)]
    information[0]["k"][0, 0], information[1]["k"][0, 0] = 3, 1
    found = fusion.fuse(trees, "fisher", fishers=information)["k"]
    expected = (np.array(A) + B) / 2
    expected[0, 0] = (3 * 1 + 1 * -0.5) / 4
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_regmean_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    kernels, inputs = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 9, 4))
    trees = [{"kernel": kernel, "bias": np.ones(3) * i} for i, kernel in enumerate(kernels)]
    grams = [{"kernel": x.T @ x} for x in inputs]
    found = fusion.fuse(trees, "regmean", grams=grams, alpha=1.0)
    wanted = np.concatenate([x @ kernel for x, kernel in zip(inputs, kernels, strict=True)])
    np.testing.assert_allclose(found["kernel"], np.linalg.lstsq(np.concatenate(inputs), wanted)[0], atol=1e-9)
    np.testing.assert_allclose(found["bias"], 0.5)


def test_dare_is_right_in_the_mean_and_the_same_again():
    changes = np.ones((2, 100, 100))
    zero = {"k": np.zeros((100, 100))}
    found = fusion.fuse([{"k": one} for one in changes], "dare", base=zero, density=0.25)["k"]
    assert set(np.unique(found)) == {0, 2, 4}
    assert abs(found.mean() - 1) < 0.05
    again = fusion.fuse([{"k": one} for one in changes], "dare", base=zero, density=0.25)["k"]
    np.testing.assert_array_equal(found, again)
    other = fusion.fuse([{"k": one} for one in changes], "dare", base=zero, density=0.25, seed=1)["k"]
    assert (found != other).any()


@pytest.mark.parametrize("how", ["task_arithmetic", "ties", "dare", "stock"])
def test_statistics_of_batch_norms_are_averaged(how):
    trees = [{"batch_stats": {"bn": {"var": np.array([v])}}, "params": {"k": np.ones(2)}} for v in (1.0, 4.0)]
    found = fusion.fuse(trees, how, base=trees[0], weights=None if how == "stock" else [-1, 1])
    np.testing.assert_allclose(found["batch_stats"]["bn"]["var"], 2.5)


def test_dtypes_stay_and_counters_must_be_the_same():
    half = [{"k": jnp.array([1, 2], jnp.bfloat16), "n": np.int32(7)} for _ in range(2)]
    found = fusion.fuse(half)
    assert found["k"].dtype == jnp.bfloat16
    assert found["n"] == 7
    with pytest.raises(InputError, match="n is int32, and differs"):
        fusion.fuse([half[0], {**half[1], "n": np.int32(8)}])


def test_a_stack_is_at_the_optimum_of_logistic_regression():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    kernel, bias = stacking.fitted(x, labels, 3, l2=0.5)
    logits = x @ kernel + bias
    slope = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True))) - np.eye(3)[labels]
    np.testing.assert_allclose(x.T @ slope + 0.5 * kernel, 0, atol=1e-3)
    np.testing.assert_allclose(slope.sum(0), 0, atol=1e-3)


def test_the_greedy_soup_takes_what_does_not_hurt():
    trees = [{"k": np.array([value])} for value in (1.0, -1.2, 9.0, 0.7)]
    soup = fusion.greedy([lambda tree=tree: tree for tree in trees], lambda tree: -abs(float(tree["k"][0])))
    assert soup.members == [3, 1]
    assert soup.scores == [-1, -1.2, -9, -0.7]
    np.testing.assert_allclose(soup.variables["k"], -0.25)
    assert soup.score == pytest.approx(-0.25)


ONE = {"k": np.ones((2, 2)), "b": np.ones(2)}


@pytest.mark.parametrize(
    ("trees", "how", "fields", "says"),
    [
        ([ONE, {"k": np.ones((2, 2))}], "uniform", {}, "b is in model 1 alone"),
        ([ONE, {**ONE, "k": np.ones((2, 3))}], "uniform", {}, r"k is \[2, 2\] and \[2, 3\]"),
        ([ONE, {**ONE, "c": np.ones(1)}], "uniform", {}, "c is in model 2 alone"),
        ([ONE, ONE], "ties", {}, "'ties' needs the model that all began from; give base"),
        ([ONE, ONE], "wise", {"base": ONE}, "'wise' takes 1 model beside the base, not 2"),
        ([ONE, ONE, ONE], "slerp", {}, "'slerp' takes 2 models, not 3"),
        ([ONE], "stock", {"base": ONE}, "'stock' takes 2 models or more beside the base, not 1"),
        ([ONE, ONE], "uniform", {"weights": [1]}, "a weight for each of the 2 models, not 1"),
        ([ONE, ONE], "uniform", {"weights": [1, -1]}, "add up to 0"),
        ([ONE, ONE], "uniform", {"weights": [1, float("nan")]}, "a weight for each"),
        ([ONE, ONE], "uniform", {"density": 0.5}, "'uniform' has no 'density'; it has no fields"),
        ([ONE, ONE], "ties", {"base": ONE, "density": 0.0}, "density=0.0 must be above 0"),
        ([ONE, ONE], "ties", {"base": ONE, "density": "half"}, "density='half' of 'ties' is of no kind"),
        ([ONE, ONE], "ties", {"base": ONE, "convention": "majority"}, "unknown convention of TIES: 'majority'"),
        ([ONE, {**ONE, "b": np.array([1, np.nan])}], "uniform", {}, "b of the model number 2 has numbers that are not"),
        ([ONE, ONE], "ties", {"base": {**ONE, "b": np.array([1, np.inf])}}, "b of the base has numbers that are not"),
        ([ONE, ONE], "fisher", {}, "'fisher' needs fishers; give a tree for each model"),
        ([ONE, ONE], "median", {}, "unknown way to fuse 'median'"),
    ],
)
def test_what_can_not_be_fused_is_one_line(trees, how, fields, says):
    with pytest.raises(InputError, match=says) as error:
        fusion.fuse(trees, how, **fields)
    assert "\n" not in str(error.value)


def test_whole_models_of_any_kind_are_fused():
    model = models.create("resnet18", 3, depths=(1, 1), image_size=16)
    x = model.example_input(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    rng = np.random.default_rng(0)
    base, *others = (jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes) for _ in range(3))
    fused = fusion.fuse(others, "ties", base=base)
    assert jax.tree.map(jnp.shape, fused) == jax.tree.map(jnp.shape, base)
    np.testing.assert_allclose(
        fused["batch_stats"]["stem"]["bn"]["var"], sum(one["batch_stats"]["stem"]["bn"]["var"] for one in others) / 2
    )
