"""A run's temperature is found on the validation split, and is in what the run predicts and exports."""

import json
import shutil

import numpy as np
import pytest
import tiny_vectors
from safetensors.numpy import load_file

from jtransfer import config as configs
from jtransfer import predict, runs, train
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.metrics import temperature


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    config = tiny_vectors.config_of(folder)
    config.data.train, config.data.validation = "train[:20]", "train[20:]"
    config.optim.lr = 0.1  # so that the model is too sure of itself
    config.evals = [*config.evals, configs.evaluation("calibration")]
    train.run(config, folder / "run")
    return folder / "run"


@pytest.fixture
def at_two(calibrated, tmp_path):
    """The same run, as if its temperature were 2."""
    shutil.copytree(calibrated, tmp_path / "run")
    lines = [json.loads(line) for line in (calibrated / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "temperature" in line:
            line["temperature"] = 2.0
    (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "run"


def logits_of(predictor, given):
    return np.log(predictor(given)["probs"].astype(np.float64))


GIVEN = ["1,2,3,-4,5,6", "0,0,1,0,0,0"]


def test_the_temperature_is_that_of_the_validation_split(calibrated):
    from sklearn.metrics import log_loss

    run = runs.open(calibrated)
    source = run.source("validation")
    given = [",".join(map(str, source[i]["vector"].tolist())) for i in range(len(source))]
    table = predict.load(calibrated, "last")(given) if run.step() == "last" else None
    line = [line for line in run.lines if line.get("split") == "test" and line.get("protocol") == "validation"][-1]
    assert run.temperature() == line["temperature"]
    assert run.temperature("last") == 1
    assert table is None
    cold = predict.load(calibrated)
    cold.temperature = 1.0
    found = temperature.fit(logits_of(cold, given).astype(np.float32), source.labels)
    assert line["temperature"] == pytest.approx(found.temperature, rel=1e-4)
    warm = predict.load(calibrated)(given)["probs"]
    assert log_loss(source.labels, warm, labels=range(3)) <= found.before + 1e-6


def test_predictions_are_at_the_temperature(calibrated, at_two):
    cold = predict.load(calibrated)
    cold.temperature = 1.0
    logits = logits_of(cold, GIVEN) / 2
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(predict.load(at_two)(GIVEN)["probs"], expected, rtol=1e-4)
    np.testing.assert_allclose(predict.load(at_two, "last")(GIVEN)["probs"].sum(1), 1, rtol=1e-5)


def test_an_export_has_it_in_the_head(at_two, tmp_path, capsys):
    export.export(at_two, tmp_path / "new", "safetensors")
    assert "the head is divided by the temperature 2" in capsys.readouterr().out
    tensors = load_file(tmp_path / "new/model.safetensors")
    kernel = runs.open(at_two).variables()["params"]["head"]["dense"]["kernel"]
    np.testing.assert_array_equal(tensors["params/head/dense/kernel"], kernel / np.float32(2))
    export.export(at_two, tmp_path / "last", "safetensors", step="last")
    assert "temperature" not in capsys.readouterr().out


def test_a_damaged_temperature_is_refused(at_two):
    log = at_two / "metrics.jsonl"
    log.write_text(log.read_text().replace('"temperature": 2.0', '"temperature": -2.0'))
    with pytest.raises(InputError, match=r"the temperature -2\.0 of the run's model must be above 0"):
        predict.load(at_two)
