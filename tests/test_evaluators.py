"""What evaluators measure, against scikit-learn and by hand; what does not fit is told before a run begins."""

import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.core.errors import InputError


def told(folder):
    return [line for line in runs.open(folder).lines if line.get("split") == "test"][-1]


def config_of(folder, *entries, classes=3, **data):
    config = tiny_vectors.config_of(folder)
    config.data.train, config.data.validation = "train[:20]", "train[20:]"
    config.data.update(data)
    config.evals = [*config.evals, *entries]
    return config


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with all evaluators that any data can have, its config and its last line of the test split."""
    folder = tmp_path_factory.mktemp("measured")
    config = config_of(
        folder,
        configs.evaluation("calibration"),
        configs.evaluation("selective", risk=0.2),
        configs.evaluation("corruption", every=-1, severities=(1, 5)),
        configs.evaluation("intervals", draws=50),
        configs.evaluation("shifted", data={"name": f"npz:{folder}/vectors.npz", "test": "train[:12]"}, called="other"),
    )
    config.metrics = ("auroc", "auprc", "brier", "aurc")
    train.run(config, folder / "run")
    return folder / "run"


def test_all_that_was_asked_for_is_told_with_the_test_split(measured):
    line = told(measured)
    assert line["brier"] > 0
    assert 0 <= line["auroc"] <= 1
    assert line["accuracy_low"] < line["accuracy"] < line["accuracy_high"]
    assert line["macro_f1_low"] <= line["macro_f1_high"]
    assert 0 <= line["selective_coverage"] <= 1
    assert {f"corrupted/accuracy/{how}/{s}" for how in ("noise", "missing") for s in (1, 5)} < set(line)
    assert line["corrupted/accuracy/none/0"] == line["accuracy"]
    assert {"other/accuracy", "other/auroc", "other/loss"} < set(line)


def test_what_is_told_is_scikit_learns(measured):
    from sklearn import metrics as sk

    line, kept = told(measured), runs.open(measured).predictions
    assert line["auroc"] == pytest.approx(sk.roc_auc_score(kept["label"], kept["probs"], multi_class="ovr"), abs=1e-6)
    hot = np.eye(3)[kept["label"]]
    assert line["auprc"] == pytest.approx(sk.average_precision_score(hot, kept["probs"], average="macro"), abs=1e-6)
    assert line["brier"] == pytest.approx(np.square(hot - kept["probs"]).sum(1).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (configs.evaluation("calibration", "validation"), "give another on="),
        (configs.evaluation("thresholds"), "needs two classes, or several for each example; there are 3"),
        (configs.evaluation("thresholds", by="f2"), "needs two classes"),
        (configs.evaluation("selective", risk=1.5), "risk=1.5 of 'selective' must be at least 0 and below 1"),
        (configs.evaluation("corruption", only=("fog",)), "unknown corruption of vectors: 'fog'"),
        (configs.evaluation("corruption", severities=(6,)), "severities from 1 to 5"),
        (configs.evaluation("groups", column="site"), "needs data with columns"),
        (configs.evaluation("intervals", level=95.0), "level=95.0 of 'intervals' must be between 0 and 1"),
        (configs.evaluation("shifted", data={"test": "all"}), "needs data={'name': …}"),
        (configs.evaluation("shifted", data={"name": "npz:/nowhere.npz"}), "nowhere.npz"),
        (configs.evaluation("shifted", data={"name": "x", "sort": 1}), "unknown field of data: 'sort'"),
        (configs.evaluation("shifted", data={"name": "x"}, called="a/b"), "may have no '/'"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_written(tmp_path, entry, says):
    with pytest.raises(InputError) as error:
        train.run(config_of(tmp_path, entry), tmp_path / "run")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_number_chosen_on_the_validation_split_needs_one(tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    config.evals = [*config.evals, configs.evaluation("calibration")]
    with pytest.raises(InputError, match=r"give data\.validation, such as"):
        train.run(config, tmp_path / "run")


def test_two_shifted_sets_of_one_name_are_refused(tmp_path):
    one = configs.evaluation("shifted", data={"name": f"npz:{tmp_path}/vectors.npz"})
    with pytest.raises(InputError, match=r"several data sets are called 'vectors\.npz'"):
        train.run(config_of(tmp_path, one, one), tmp_path / "run")


def test_a_metric_of_classes_is_none_of_numbers(tmp_path):
    config = config_of(tmp_path, labels="number")
    config.metrics = ("auroc",)
    with pytest.raises(InputError, match="'auroc' is of labels of the kind 'class' or 'classes'"):
        train.run(config, tmp_path / "run")


def test_evaluators_that_are_asked_together_look_at_a_split_once(tmp_path, monkeypatch):
    from jtransfer.runs import batches

    looked = []
    whole = batches.of_evaluation

    def counted(run, source, transform):
        looked.append(len(source))
        return whole(run, source, transform)

    monkeypatch.setattr(batches, "of_evaluation", counted)
    config = config_of(tmp_path, configs.evaluation("calibration"), configs.evaluation("selective"))
    config.phases[0].steps = 4
    train.run(config, tmp_path / "run")
    assert sorted(looked) == [12, 12, 16]  # validation, to choose; then both, for all that the last evaluation tells
