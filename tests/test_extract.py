"""Features that are extracted: they are what the model gives, and our own reader of vectors trains on the file."""

import numpy as np
import pyarrow.parquet as parquet
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import data, extract, runs, train
from jtransfer.core.errors import InputError
from jtransfer.runs import extraction


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    train.run(tiny_vectors.config_of(folder, steps=4), folder / "run")
    return folder


def of_model(folder, x, stage):
    stored = runs.open(folder / "run")
    prepared = stored.modality.make_preprocess(stored.model, train=False)(x)
    return np.asarray(stored.model.apply(stored.variables(), prepared, outputs=[stage])[stage])


def test_features_labels_and_classes_of_a_run(run):
    extract.main(["extract", str(run / "run"), f"--to={run}/features.npz"])
    found, arrays = np.load(run / "features.npz"), np.load(run / "vectors.npz")
    assert sorted(found) == [
        "class_names",
        *(f"features_{split}" for split in ("test", "train")),
        *(f"index_{split}" for split in ("test", "train")),
        *(f"labels_{split}" for split in ("test", "train")),
    ]
    for split in ("train", "test"):
        wanted = of_model(run, arrays[f"x_{split}"], "hidden2")
        assert found[f"features_{split}"].dtype == np.float32
        np.testing.assert_allclose(found[f"features_{split}"], wanted, rtol=1e-5, atol=1e-6)
        assert found[f"labels_{split}"].tolist() == arrays[f"y_{split}"].tolist()
        assert len(set(found[f"index_{split}"].tolist())) == len(wanted)
    assert found["class_names"].tolist() == ["0", "1", "2"]


def test_a_run_trains_on_the_features(run, tmp_path):
    """The head that a run of the features begins with is as good as the run's own head is on them."""
    extract.main(["extract", str(run / "run"), f"--to={run}/features.npz"])
    config = configs.default()
    config.data.name = f"npz:{run}/features.npz"
    config.model.name = "mlp"
    config.batch_size = 16
    config.phases = [configs.phase("finetune", steps=2)]
    train.run(config, tmp_path / "run")
    stored = runs.open(tmp_path / "run")
    assert stored.model.num_features == 8
    assert stored.class_names == runs.open(run / "run").class_names
    assert stored.predictions["label"].tolist() == np.load(run / "vectors.npz")["y_test"].tolist()


def test_parquet_holds_the_same(run, tmp_path):
    tables = extract.extract(run / "run", stage="hidden1", splits=["train", "test"])
    extract.main(
        ["extract", str(run / "run"), f"--to={tmp_path}/{{split}}.parquet", "--stage=hidden1", "--split=train,test"]
    )
    assert parquet.read_table(tmp_path / "test.parquet").column_names == [*(f"f{i}" for i in range(8)), "label"]
    name = f"parquet:{tmp_path}/{{train,test}}.parquet"
    for split, table in tables.items():
        source = data.open({"name": name, "modality": "vector"}, split)
        assert np.array_equal(np.stack([source[i]["vector"] for i in range(len(source))]), table.features)
        assert np.array_equal(source.labels, table.labels)
        assert source.class_names == table.class_names


def test_an_expression_of_splits_keeps_the_numbers_of_its_examples(run, tmp_path):
    extract.main(["extract", str(run / "run"), f"--to={tmp_path}/f.npz", "--split=train[4:7]", "--stage=head"])
    found, arrays = np.load(tmp_path / "f.npz"), np.load(run / "vectors.npz")
    assert found["index"].tolist() == [4, 5, 6]
    np.testing.assert_allclose(found["features"], of_model(run, arrays["x_train"][4:7], "head"), rtol=1e-5, atol=1e-6)
    assert len(data.open({"name": f"npz:{tmp_path}/f.npz"}, "all")) == 3


def test_weights_on_the_data_of_a_config(run, tmp_path):
    """A run, as any weights, is taken for a config's own init."""
    config = tiny_vectors.config_of(tmp_path)
    config.model.name, config.model.fields = "", {}
    tables = extract.extract(run / "run", config=config, splits=["test"])
    wanted = of_model(run, np.load(tmp_path / "vectors.npz")["x_test"], "hidden2")
    np.testing.assert_allclose(tables["test"].features, wanted, rtol=1e-5, atol=1e-6)
    assert not list(tmp_path.glob("*none*"))


WRONG = {
    "give a run or weights, and a file": [],
    "give a file that ends in .npz or .parquet": ["RUN", "--to=x.txt"],
    "there is no folder": ["RUN", "--to=nowhere/x.npz"],
    "holds one split; write": ["RUN", "--to=x.parquet", "--split=train,test"],
    "is an expression; of several splits": ["RUN", "--to=x.npz", "--split=train,test[:3]"],
    "unknown stage 'hidden9'": ["RUN", "--to=x.npz", "--stage=hidden9"],
    "unknown split of the config 'validation'": ["RUN", "--to=x.npz", "--split=validation"],
    "is not the folder of a run; give --config=FILE": ["nothing", "--to=x.npz"],
    "--config.seed=1 changes a config": ["RUN", "--to=x.npz", "--config.seed=1"],
    "there is no config file": ["RUN", "--to=x.npz", "--config=none.py"],
    "has step 99|no step 99|step 99": ["RUN", "--to=x.npz", "--step=99"],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(run, tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        extract.main(["extract", *(str(run / "run") if arg == "RUN" else arg for arg in WRONG[said])])
    assert list(tmp_path.iterdir()) == []


def test_splits_are_separated_outside_of_parentheses():
    assert extraction.splits_of("train, random(:80%, seed=0)") == ["train", "random(:80%, seed=0)"]
