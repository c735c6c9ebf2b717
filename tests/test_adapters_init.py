"""A run's adapters as a folder of Hugging Face's PEFT, and a run that goes on from such a folder."""

import numpy as np
import pytest
import tiny_adapters as tiny
from PIL import Image

from jtransfer import config as configs
from jtransfer import merge, predict, runs, strip, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.models import forward

X = np.linspace(-1, 1, 2 * 16 * 16 * 3, dtype=np.float32).reshape(2, 16, 16, 3)
STILL = {"optim__lr": 0.0, "optim__schedule": "constant"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_weights(tmp_path_factory.mktemp("weights") / "vit.safetensors")


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted") / "run"
    train.run(one_phase(source, tiny.ROWS), folder)
    return folder


@pytest.fixture(scope="module")
def adapter(run):
    export.export(run, run.parent / "adapter", "peft")
    return run.parent / "adapter"


def logits_of(variables, model=None):
    return np.asarray(forward.apply(model or tiny.model(), variables, X)[0])


def of_run(folder):
    return {name: tree for name, tree in runs.open(folder).variables().items() if name != "aux"}


def one_phase(source, rows=(), **changes):
    config = tiny.config_of(source, rows=rows, **changes)
    config.phases = [configs.phase("adapt", steps=2)]
    return config


def test_a_run_is_written_with_its_head_and_comes_back(source, run, adapter):
    model, variables, report = weights.restore(source, adapters=adapter, model="vit_tiny_patch16", **tiny.FIELDS)
    np.testing.assert_allclose(logits_of(variables, model), logits_of(of_run(run)), atol=1e-5)
    assert any("with it come head/dense" in line for line in report.notes)


def test_a_run_goes_on_from_a_folder_with_further_adapters_beside(source, run, adapter, tmp_path):
    rows = [("layer_1/fc1", "lora", {"rank": 1}), ("attention", "lora", {"rank": 5})]
    config = one_phase(source, rows=rows, adapters_init=str(adapter), **STILL)
    train.run(config, tmp_path / "new")
    begun = of_run(tmp_path / "new")
    np.testing.assert_allclose(logits_of(begun), logits_of(of_run(run)), atol=1e-6)
    found = {path.rpartition("/lora/a")[0]: x.shape for path, x in trees.flatten(begun).items()}
    assert found["adapters/layer_1/fc1"] == (16, 1)
    assert found["adapters/layer_1/attention/query"][1] == 2
    train.run(config, tmp_path / "new")  # which goes on where it ended


def test_a_run_of_the_base_predicts_with_an_adapter_as_the_run_that_made_it(source, run, adapter, tmp_path, capsys):
    bare, photo = tmp_path / "bare", tmp_path / "photo.png"
    probe = [configs.phase("probe", trainable="head/.*", steps=1)]
    train.run(tiny.config_of(source, rows=(), evals=[], phases=probe), bare)
    Image.fromarray(np.arange(768, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)).save(photo)

    def probs(folder, *flags):
        save = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        run_command(predict.main, ["predict", f"--workdir={folder}", f"--save={save}", *flags, str(photo)])
        with np.load(save) as said:
            return said["probs"]

    np.testing.assert_allclose(probs(bare, f"--adapters={adapter}"), probs(run), atol=1e-5)
    assert np.abs(probs(bare) - probs(run)).max() > 1e-3
    capsys.readouterr()
    for flags, says in (
        (f"--adapters={tmp_path}/none", "does not exist"),
        (f"--adapters={source}", "no adapter"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_command(predict.main, ["predict", f"--workdir={bare}", flags, str(photo)])
        error = capsys.readouterr().err
        assert (stopped.value.code, error.count("\n")) == (2, 1)
        assert says in error
    with pytest.raises(InputError, match=r"there is an adapter at .* already; label them"):
        predict.load(run, adapters=adapter)([str(photo)])


def test_another_base_and_none_are_refused(source, adapter, tmp_path):
    other = tiny.write_weights(tmp_path / "other.safetensors", seed=8)
    with pytest.raises(InputError, match=r"belongs to another base: .*sha256:\w{64}.*sha256:\w{64}"):
        train.run(one_phase(other, adapters_init=str(adapter)), tmp_path / "new")
    with pytest.raises(InputError, match="is of a base, and init is 'scratch'"):
        train.run(one_phase("scratch", adapters_init=str(adapter)), tmp_path / "new")
    with pytest.raises(InputError, match="does not exist"):
        train.run(one_phase(source, adapters_init=str(tmp_path / "none")), tmp_path / "new")
    assert not (tmp_path / "new" / "checkpoints").exists()


def test_a_run_is_merged_on_its_own_data_and_stripped(source, run, tmp_path, capsys):
    for command in (merge, strip):
        run_command(command.main, [command.__name__, str(run), str(tmp_path / command.__name__)])
    assert "8 examples of 'test[:16]'" in capsys.readouterr().out
    model, variables, _ = weights.restore(tmp_path / "jtransfer.merge")
    np.testing.assert_allclose(logits_of(variables, model), logits_of(of_run(run)), atol=1e-4)
    base, bare = weights.load(source, tiny.model())[0], weights.restore(tmp_path / "jtransfer.strip")[1]
    for path, leaf in trees.flatten(base["params"]).items():
        if not path.startswith("head"):
            np.testing.assert_array_equal(trees.flatten(bare["params"])[path], leaf)
