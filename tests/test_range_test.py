"""The learning rate range test: where a quadratic diverges is known, and a run goes on as if there had been no test."""

import itertools
import json

import jax
import numpy as np
import pytest
import tiny_vectors

from jtransfer import advise, runs, train
from jtransfer.core.errors import InputError
from jtransfer.runs import build
from jtransfer.tuning import range_test

CURVATURE = 10.0  # gradient descent on CURVATURE · w² / 2 diverges at rates above 2 / CURVATURE = 0.2


def quadratic(rates):
    """The losses of gradient descent while the rate rises."""
    w, found = 1.0, []
    for rate in rates:
        found.append(CURVATURE * w * w / 2)
        w -= rate * CURVATURE * w
    return found


def test_a_quadratic_gets_a_rate_that_does_not_diverge():
    rates = np.geomspace(1e-5, 10, 200)
    found = range_test.read(rates, quadratic(rates)[:200])
    assert 1e-3 < found.rate < 0.2
    assert found.rate < found.least
    assert f"optim.lr={found.rate:.2g}" in found.lines[-1]


def test_the_mean_that_goes_along_is_that_of_its_definition():
    losses = [3.0, 1.0, 2.0, 5.0]
    shares = [0.9**i for i in range(4)]
    wanted = [np.average(losses[: n + 1], weights=shares[: n + 1][::-1]) for n in range(4)]
    np.testing.assert_allclose(range_test.read([1e-3, 1e-2, 1e-1, 1], losses).smoothed, wanted, rtol=1e-12)


def test_where_the_loss_falls_at_no_rate_none_is_proposed():
    found = range_test.read([1e-3, 1e-2, 1e-1, 1], [1.0, 1.1, 1.2, 1.3])
    assert found.rate is None
    assert "nothing is proposed" in found.lines[-1]


def test_losses_that_are_no_numbers_from_the_start_are_refused():
    with pytest.raises(InputError, match="not finite at the smallest rates"):
        range_test.read([1e-3, 1e-2, 1e-1], [np.nan] * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a run that knew no range test."""
    folder = tmp_path_factory.mktemp("range")
    config = config_of(folder)
    train.run(config, folder / "without")
    return folder


def config_of(folder):
    config = tiny_vectors.config_of(folder)
    config.data.validation = "test"
    config.optim.name, config.optim.ema = "sgd", 0.9
    config.model.fields.dropout = 0.2
    config.eval_every = 2
    return config


def bits(folder):
    return jax.tree.leaves(runs.open(folder).variables("last"))


def test_a_run_goes_on_bit_for_bit_after_tests_before_it_and_within(folder):
    config, place = config_of(folder), folder / "with"
    before = advise.range_test(config, place)
    train.run(config, place, lambda step, score: step == 4)
    log = (place / "metrics.jsonl").read_bytes()
    within = advise.range_test(config, place)
    assert (place / "metrics.jsonl").read_bytes() == log
    assert train.run(config, place) == train.run(config, folder / "without")
    assert all(map(np.array_equal, bits(place), bits(folder / "without")))
    assert before.losses[0] != within.losses[0]  # which begins with what was trained
    assert before.losses[-1] > before.losses[0]  # at rates up to 10 it explodes
    assert len(before.losses) < range_test.STEPS
    assert "exploded" in before.lines[0]
    kept = json.loads((place / "auto/range_test.json").read_text())
    assert len(kept["rates"]) == len(kept["losses"]) == len(within.losses)
    assert kept["rates"][:2] == pytest.approx([1e-6, 1e-6 * 1e7 ** (1 / 99)])
    assert (place / "auto/range_test.svg").read_bytes().startswith(b"<?xml")


def test_the_steps_have_the_rates_that_are_stated(folder):
    """With plain gradient descent, the first update is the rate times the gradient."""
    config = config_of(folder)
    config.optim.kwargs.momentum = 0.0
    run = build.prepare(config, folder / "none")
    changed = range_test._with_schedule(run, 0, lambda count: 1e-6 * 10.0**count)
    state, _ = range_test._where(changed, folder / "none")
    first = jax.tree.map(np.array, state.trainable)
    fed = range_test.feed.of_phase(changed, changed.phases[0], state)
    step, batch = fed.train_step(state.variables()), next(fed.train_batches(0))
    moved = [first]
    for _ in range(2):
        state, _ = step(state, batch)
        moved.append(jax.tree.map(np.array, state.trainable))
    sizes = [
        float(np.sqrt(sum(np.sum((b - a) ** 2) for a, b in zip(*map(jax.tree.leaves, two), strict=True))))
        for two in itertools.pairwise(moved)
    ]
    assert 5 < sizes[1] / sizes[0] < 20  # 10, but for dropout


def test_a_test_of_no_single_phase_is_refused(folder, tmp_path):
    config = config_of(folder)
    config.phases = "auto"
    with pytest.raises(InputError, match=r"config.phases='auto' names none"):
        advise.range_test(config, tmp_path / "run")
    config = config_of(folder)
    config.model.name, config.model.fields = "logistic_regression", {}
    config.phases = [{"name": "fit", "trainable": "head/.*", "steps": 1}]
    config.optim.ema = 0.0
    with pytest.raises(InputError, match="is fitted at once, and has no learning rate"):
        advise.range_test(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
