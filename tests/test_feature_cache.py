"""What frozen stages give is computed once for all runs that see the same examples, and is what each would compute."""

import numpy as np
import pytest
import tiny_run

from jtransfer import train
from jtransfer.core.errors import InputError
from jtransfer.features import prefix, rows
from jtransfer.runs import log


def config_of(cache="", **changes):
    config = tiny_run.get_config("1")
    config.phases[0].steps, config.eval_every, config.feature_cache = 3, 3, str(cache)
    config.data.transform = "resize(16)"
    config.data.train, config.data.test = (f"stratified(train[:60], folds=3, {part}=0)" for part in ("except", "fold"))
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture
def computed(monkeypatch):
    """The numbers of examples that are computed, one for each pass."""
    sizes, extract = [], prefix.extract

    def counting(step, variables, batches):
        found = extract(step, variables, batches)
        sizes.append(len(found[1]))
        return found

    monkeypatch.setattr(prefix, "extract", counting)
    return sizes


def lines(folder):
    return [(line["step"], line.get("split"), line["loss"]) for line in log.read(folder) if "loss" in line]


def test_folds_share_features_and_train_as_without(tmp_path, computed):
    plain = config_of()
    train.run(plain, tmp_path / "plain")
    train.run(config_of(tmp_path / "cache"), tmp_path / "one")
    assert computed == [40, 20, 40, 20]
    for one, other in zip(lines(tmp_path / "plain"), lines(tmp_path / "one"), strict=True):
        assert one[:2] == other[:2]
        assert one[2] == pytest.approx(other[2], rel=1e-5)
    more = {"data.train": "train[:62]", "data.test": plain.data.test.replace("=0)", "=1)")}
    train.run(config_of(tmp_path / "cache", **more), tmp_path / "two")
    assert computed[4:] == [2], "all but two were known"
    seeds = config_of(tmp_path / "cache", **{"seed": 1})  # another frozen part, drawn at random
    train.run(seeds, tmp_path / "three")
    assert computed[5:] == [40, 20]
    train.run(
        config_of(tmp_path / "cache", **{"data.transform": "resize(16)|normalize('imagenet')"}), tmp_path / "four"
    )
    assert computed[7:] == [40, 20], "the examples are prepared otherwise"
    train.run(config_of(tmp_path / "elsewhere"), tmp_path / "one")  # a cache that moves is no other config


def test_a_bucket_is_refused(tmp_path):
    with pytest.raises(InputError, match="give a folder of this machine"):
        train.run(config_of("gs://bucket/cache"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_rows_by_content(tmp_path, nested):
    digests = [bytes([i]) * 16 for i in (3, 1, 3, 2)]
    asked = []

    def compute(numbers):
        asked.append(numbers.tolist())
        values = np.array([digests[i][0] for i in numbers], np.float32)[:, None]
        return {"a": {"b": values}, "c": values.astype(np.int32)} if nested else values

    for _ in range(2):
        found = rows.find_or_compute(tmp_path, "key", digests, compute)
        assert (found["a"]["b"] if nested else found)[:, 0].tolist() == [3, 1, 3, 2]
    assert asked == [[0, 1, 3]]
    digests.append(bytes([9]) * 16)
    rows.find_or_compute(tmp_path, "key", digests, compute)
    assert asked[1:] == [[4]]
