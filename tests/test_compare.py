"""A comparison from its runs to its tables: what stands there is what NumPy and SciPy say of the runs' predictions."""

import csv
import json
import math

import numpy as np
import pytest
import test_compare_plan
from scipy import stats

from jtransfer import data, metrics, train
from jtransfer.comparing import compare, compared, curves, held, outcomes, plan, table, winner, work
from jtransfer.core.errors import Diverged, InputError
from jtransfer.metrics import get
from jtransfer.runs import measure

VARY = ["slow: optim.lr=1e-3", "fast: optim.lr=3e-2; model.fields.widths=(16,)"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(the folder, what was returned, the splits that were measured at the end) of two settings on two folds."""
    folder, measured = tmp_path_factory.mktemp("compare"), []
    original = measure.measure

    def counting(run, *args, **kwargs):
        measured.append((str(run.folder), kwargs["split"]))
        return original(run, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure", counting)
        config = test_compare_plan.config_of(folder, **{"data.validation": "", "eval_every": 8})
        found = compare(config, VARY, workdir=folder / "all", folds=2)
    return folder / "all", found, measured


def out_of_fold(folder):
    """(labels, setting → probabilities) of all training examples, put together from the runs by hand."""
    config = test_compare_plan.config_of(folder.parent)
    whole = data.open(config.data, "train[:24]")
    probs = {}
    for place in (folder / "runs").iterdir():
        held_out = probs.setdefault(place.name, np.full((24, 3), np.nan))
        for fold in range(2):
            part = data.open(config.data, f"stratified(train[:24], folds=2, fold={fold}, seed=0)")
            with np.load(place / f"seed0-fold{fold}" / "predictions.npz") as kept:
                held_out[part.numbers] = kept["probs"]
    return whole.labels, probs


def test_the_table_says_what_the_runs_predicted(done):
    folder, found, _ = done
    labels, probs = out_of_fold(folder)
    slow, fast = found.rows
    rights = {name: made.argmax(1) == labels for name, made in probs.items()}
    assert (slow.mean, fast.mean) == pytest.approx((rights["slow"].mean(), rights["fast"].mean()))
    folds = {
        name: [
            json.loads((folder / "runs" / name / f"seed0-fold{k}" / "result.json").read_text())["metrics"]["accuracy"]
            for k in range(2)
        ]
        for name in rights
    }
    assert slow.spread == pytest.approx(np.std(folds["slow"], ddof=1))
    apart = np.subtract(folds["fast"], folds["slow"])
    t = apart.mean() / math.sqrt((1 / 2 + 12 / 12) * apart.var(ddof=1))
    assert fast.p == pytest.approx(2 * stats.t.sf(abs(t), 1), rel=1e-9)
    assert fast.p_holm == fast.p
    assert fast.test == "corrected resampled t-test (Nadeau-Bengio)"
    assert (fast.gained, fast.lost) == (
        (rights["fast"] & ~rights["slow"]).sum(),
        (rights["slow"] & ~rights["fast"]).sum(),
    )
    assert fast.difference_low <= fast.difference <= fast.difference_high
    assert fast.difference == pytest.approx(fast.mean - slow.mean)
    assert math.isnan(slow.difference)


def test_the_test_split_is_read_once_and_by_the_winner_alone(done):
    folder, found, measured = done
    assert found.winner == "fast"
    assert measured == [(str(folder / f"runs/fast/seed0-fold{k}"), "test") for k in range(2)]
    for path in (folder / "runs").glob("*/*/config.json"):
        assert json.loads(path.read_text())["data"]["test"] != "test"
    again = compared.finished(plan.read(str(folder)))
    assert len(measured) == 2
    assert again.tested == found.tested


def test_out_of_fold_predictions_and_flips_are_kept(done):
    folder, found, _ = done
    labels, probs = out_of_fold(folder)
    with np.load(folder / "predictions.npz") as kept:
        np.testing.assert_array_equal(kept["label"], labels)
        for name in ("slow", "fast"):
            np.testing.assert_allclose(kept[f"{name}/seed=0"], probs[name], rtol=1e-6)
    with (folder / "flips.csv").open() as file:
        flips = list(csv.DictReader(file))
    one, other = probs["slow"].argmax(1), probs["fast"].argmax(1)
    gained = np.flatnonzero((other == labels) & (one != labels)).tolist()
    assert [int(row["index"]) for row in flips if row["what"] == "gained"] == gained
    assert all(int(row["predicted"]) == other[int(row["index"])] for row in flips)
    assert len(flips) == found.rows[1].gained + found.rows[1].lost


def test_what_is_written_says_the_protocol(done):
    folder, _, _ = done
    results = json.loads((folder / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["slow", "fast"]
    assert "each of 2 folds (stratified) leaves out" in results["protocol"][0]
    page = (folder / "report.html").read_text()
    for text in ("each of 2 folds", "Winner: fast", "corrected resampled t-test", "optim.lr = 3e-2", "<svg"):
        assert text in page
    assert (folder / "plot.png").read_bytes()[:4] == b"\x89PNG"
    with (folder / "table.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["slow", "fast"]
    assert "Winner: fast" in (folder / "table.txt").read_text()


def test_what_is_done_is_not_done_again_and_a_changed_run_is_refused(done, monkeypatch):
    folder, _, _ = done
    known = plan.read(str(folder))
    monkeypatch.setattr(train, "run", lambda *args: pytest.fail("it is done"))
    work.run(known, range(4))
    assert work.pending(known) == []
    other = known._replace(config={**known.config, "batch_size": 8})
    with pytest.raises(InputError, match="holds a run of another config"):
        work.pending(other)


def test_a_run_that_diverges_is_told_and_does_not_win(tmp_path, monkeypatch, capsys):
    config = test_compare_plan.config_of(tmp_path, **{"eval_every": 8})
    original = train.run

    def run(config, place):
        if config.optim.lr > 1:
            raise Diverged("loss is nan at step 3")
        return {**original(config, place), "ece": math.nan}

    monkeypatch.setattr(train, "run", run)
    found = compare(config, ["optim.lr=1e-2,1e3"], workdir=tmp_path / "all")
    assert found.winner == "optim.lr=1e-2"
    assert (found.rows[1].failed, found.rows[1].verdict) == (1, "not tested")
    assert "1 of 1 runs diverged" in (tmp_path / "all/table.txt").read_text()
    assert "loss is nan at step 3" in capsys.readouterr().err


def made(rights, name="one", labels=0):
    """The outcome of runs that have so much right, [seeds, N]."""
    rights = np.atleast_2d(rights)
    label = np.zeros(rights.shape[1], np.int32)
    tables = {
        seed: {
            "probs": np.where(row[:, None], [[0.9, 0.1]], [[0.1, 0.9]]),
            "label": label,
            "index": np.arange(len(row)),
        }
        for seed, row in enumerate(rights)
    }
    return outcomes.Outcome(name, labels, rights.mean(1)[:, None], tables, rights.astype(float), None, 1.0)


def examples(size, groups=None):
    source = data.Source(size, lambda i: {}, ["a", "b"], lambda i, j: np.zeros(j - i, np.int32))
    if groups is not None:
        source = data.Source(
            size, source.read, source.class_names, source.read_labels, column=lambda name: groups.tolist()
        )
    return held.Held(source, plan.Plan("", {"seed": 0}, (), drawn="stratified" if groups is None else "grouped"))


def compared_rows(first, second, found=None, **how):
    settings = tuple(plan.Variation(name, ()) for name in ("one", "two"))
    asked = plan.Plan("", {"seed": 0}, settings, seeds=len(np.atleast_2d(first)), **how)
    both = [made(first), made(second, "two")]
    return table.rows(asked, both, found or examples(np.shape(first)[-1]), get("accuracy"))[1]


def test_one_seed_is_tested_by_mcnemar():
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.7, rng.random(200) < 0.8
    row = compared_rows(first, second)
    gained, lost = (second & ~first).sum(), (first & ~second).sum()
    assert row.test == "McNemar's exact test"
    assert row.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    apart = second.astype(float) - first
    half = 1.96 * apart.std() / math.sqrt(200)
    assert (row.difference_low, row.difference_high) == pytest.approx(
        (apart.mean() - half, apart.mean() + half), abs=0.2 * half
    )


def test_several_seeds_are_not_several_times_as_many_examples():
    """The same predictions by three seeds are no more evidence than those of one."""
    rng = np.random.default_rng(1)
    first, second = rng.random(100) < 0.7, rng.random(100) < 0.8
    once, thrice = compared_rows(first, second), compared_rows(np.tile(first, (3, 1)), np.tile(second, (3, 1)))
    assert thrice.test == "randomization test"
    assert thrice.p == pytest.approx(once.p, abs=0.03)
    assert (thrice.difference_high - thrice.difference_low) == pytest.approx(
        once.difference_high - once.difference_low, rel=0.1
    )


def test_groups_are_drawn_as_one():
    """Ten groups of twenty equal examples are ten examples, whose interval is √20 as wide."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 20)
    values = (rng.random(10) < 0.6)[groups]
    wide = table.interval(made(values), examples(200, groups), made(values).of)
    narrow = table.interval(made(values), examples(200), made(values).of)
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(math.sqrt(20), rel=0.25)


def test_many_comparisons_are_corrected():
    rng = np.random.default_rng(3)
    settings = tuple(plan.Variation(f"s{i}", ()) for i in range(4))
    first = rng.random(300) < 0.7
    found = [made(first, "s0"), *(made(first | (rng.random(300) < 0.02 * i), f"s{i}") for i in (1, 2, 3))]
    rows = table.rows(plan.Plan("", {"seed": 0}, settings), found, examples(300), get("accuracy"))
    p, holm = [row.p for row in rows[1:]], [row.p_holm for row in rows[1:]]
    assert holm == pytest.approx(np.maximum.accumulate(np.sort(p) * [3, 2, 1])[np.argsort(np.argsort(p))])
    assert math.isnan(rows[0].p)


def test_a_metric_that_is_no_mean_of_examples_is_compared_too():
    """Matthews' correlation, by randomization; the same predictions never differ."""
    rng = np.random.default_rng(4)
    label = rng.integers(2, size=120).astype(np.int32)

    def outcome(name, right):
        probs = np.where((label == 1) == right, [0.1], [0.9])
        kept = {"probs": np.stack([probs, 1 - probs], 1), "label": label, "index": np.arange(120)}
        return outcomes.Outcome(name, 0, np.array([[0.0]]), {0: kept}, None, matthews, 0.0)

    def matthews(table, rows):
        return metrics.matthews(table["probs"][rows].argmax(1), table["label"][rows], 2)

    good, bad = rng.random(120) < 0.9, rng.random(120) < 0.6
    settings = tuple(plan.Variation(name, ()) for name in ("one", "two", "three"))
    found = [outcome("one", bad), outcome("two", good), outcome("three", bad)]
    rows = table.rows(plan.Plan("", {"seed": 0}, settings), found, examples(120), get("matthews"))
    of = np.corrcoef(label, np.where(good, label, 1 - label))[0, 1]
    assert rows[1].mean == pytest.approx(of, abs=1e-6)
    assert (rows[1].verdict, rows[2].verdict, rows[2].p) == ("better", "no difference shown", 1.0)
    assert rows[1].difference_low > 0
    of_task = outcomes.scorer(outcomes.TASKS["classify"], get("matthews"), ["a", "b"])
    assert of_task(found[1].tables[0], np.arange(120)) == pytest.approx(of, abs=1e-6)


def test_less_is_better_where_the_metric_says_so():
    one, two = made(np.zeros(4), "one"), made(np.ones(4), "two")
    assert winner.best([one, two], get("mae")).name == "one"
    assert winner.best([one, two], get("accuracy")).name == "two"


SIZES = (5, 10, 20, 40)


@pytest.mark.parametrize(
    ("level", "values", "wanted"),
    [
        (0.7, (0.5, 0.6, 0.7, 0.8), 20),
        (0.65, (0.5, 0.6, 0.7, 0.8), math.sqrt(200)),  # half of the way from 10 to 20, in the logarithm
        (0.4, (0.5, 0.6, 0.7, 0.8), 5),
        (0.9, (0.5, 0.6, 0.7, 0.8), math.inf),
        (0.65, (0.5, 0.7, 0.6, 0.8), 10),  # 0.7, 0.6 become 0.65, 0.65
    ],
)
def test_the_labels_that_reach_a_level(level, values, wanted):
    assert curves.needed(level, SIZES, values) == pytest.approx(wanted)
    assert curves.needed(-level, SIZES, [-v for v in values], less_is_better=True) == pytest.approx(wanted)


def test_labels_saved_and_their_interval():
    """A setting that is always as good as the other with four times the labels saves three of four."""
    rng = np.random.default_rng(5)
    difficulty = rng.random((3, 4000))
    found = []
    for labels, low, high in zip(SIZES, (0.5, 0.6, 0.7, 0.8), (0.7, 0.8, 0.9, 1.0), strict=True):
        found += [made(difficulty < low, "scratch", labels), made(difficulty < high, "source", labels)]
    settings = tuple(plan.Variation(name, ()) for name in ("scratch", "source"))
    asked = plan.Plan("", {"seed": 0}, settings, seeds=3, drawn="stratified", labels=SIZES)
    first, *_, last = curves.savings(asked, found, examples(4000), get("accuracy"))
    assert (first.needed, first.low, first.high) == (5, 5, 5)
    assert last.needed == pytest.approx(10, rel=0.03)
    assert 8 < last.low <= last.needed <= last.high < 12
    assert curves.sentence(last, "scratch", SIZES, True).startswith("source needs 10 labels of each class for what")
    none = curves.Saving("source", 40, 0.8, math.inf, math.inf, math.inf)
    assert curves.sentence(none, "scratch", SIZES, True).endswith("it saves none")
    least = last._replace(needed=5.0, low=5.0, high=5.0, labels=5)
    assert curves.sentence(least, "scratch", (5, 10), True) == (
        "source needs at most 5 labels of each class for what scratch reaches with 5 (95 %: 5 or fewer): it saves none"
    )
