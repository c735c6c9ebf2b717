"""Runs with adapters: what is written, what goes on, and what is read from where."""

import shutil

import jax
import numpy as np
import pytest
import tiny_adapters as tiny

from jtransfer import config as configs
from jtransfer import main, peft, predict, runs, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.reporting import page as report
from jtransfer.runs import log
from jtransfer.training import checkpoint
from jtransfer.weights import digests, formats

X = np.linspace(-1, 1, 2 * 16 * 16 * 3, dtype=np.float32).reshape(2, 16, 16, 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_weights(tmp_path_factory.mktemp("weights") / "vit.safetensors")


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted") / "run"
    train.run(tiny.config_of(source), folder)
    return folder


@pytest.fixture
def moved(source, run, tmp_path):
    """The run and the weights that it began with, which a test may change: (weights, folder)."""
    file = shutil.copy(source, tmp_path / "vit.safetensors")
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run/config.json"
    config.write_text(config.read_text().replace(str(source), str(file)))
    return file, tmp_path / "run"


def same(one, other):
    one, other = trees.flatten(one), trees.flatten(other)
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other[path]), err_msg=path)


def paths_in(folder):
    return set(formats.open_own(folder))


def test_a_checkpoint_is_a_delta(run):
    held = {path for path in paths_in(run / "checkpoints/5/state") if not path.startswith(("rng", "step"))}
    slots = {path.split("/")[-2] for path in held if path.startswith("trainable/adapters")}
    assert slots == {"lora"}
    assert {path.split("/")[2] for path in held if path.startswith("trainable/params")} == {"head"}
    assert {path.split("/")[-2] for path in paths_in(run / "base/adapt/state")} == {"fixed"}
    assert {path.split("/")[0] for path in paths_in(run / "base/probe/state")} == {"adapters"}


def test_a_run_is_read_with_what_its_init_holds(source, run):
    variables = runs.open(run).variables()
    held, _ = weights.load(source, tiny.model())
    frozen = {path: leaf for path, leaf in trees.flatten(variables["params"]).items() if not path.startswith("head")}
    for path, leaf in frozen.items():
        np.testing.assert_array_equal(leaf, trees.flatten(held["params"])[path])
    same(checkpoint.load_params(run), variables)
    lazy = {path: tensor.read() for path, tensor in checkpoint.lazy_params(run).items()}
    same(trees.unflatten(lazy), variables)


def test_adapters_are_merged_into_what_they_do(run):
    stored = runs.open(run)
    adapted, _ = forward.apply(stored.model, stored.variables(), X)
    merged = stored.merged()
    assert "adapters" not in merged
    np.testing.assert_allclose(stored.model.apply(merged, X), adapted, rtol=1e-5, atol=1e-5)
    plain = {name: tree for name, tree in stored.variables().items() if name != "adapters"}
    assert np.abs(stored.model.apply(plain, X) - adapted).max() > 1e-3


def test_with_other_weights_it_is_refused_with_both_digests(moved):
    file, folder = moved
    stated = checkpoint.position(folder, 5)["source"]["digest"]
    file.unlink()
    tiny.write_weights(file, seed=8)
    for read in (
        lambda: runs.open(folder).variables(),
        lambda: checkpoint.load_params(folder),
        lambda: checkpoint.lazy_params(folder),
        lambda: train.run(tiny.config_of(file), folder),
    ):
        with pytest.raises(InputError, match="was trained on other weights than") as error:
            read()
        assert stated in str(error.value)
        assert "and is 2:" in str(error.value)


def test_without_its_weights_it_is_one_line(moved):
    file, folder = moved
    file.unlink()
    with pytest.raises(InputError, match="holds no copy of what is frozen, which is read from") as error:
        runs.open(folder).variables()
    assert str(file) in str(error.value)


def test_a_copy_of_the_base_needs_no_weights(source, run, tmp_path):
    file = shutil.copy(source, tmp_path / "vit.safetensors")
    train.run(tiny.config_of(file, base="copy"), tmp_path / "run")
    file.unlink()
    same(runs.open(tmp_path / "run").variables(), runs.open(run).variables())


def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(moved, run):
    file, folder = moved
    kept = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
    shutil.rmtree(folder / f"checkpoints/{kept[-1]}")
    train.run(tiny.config_of(file), folder)
    for part in ("state", "optimizer"):
        again, whole = (formats.open_own(one / f"checkpoints/{kept[-1]}" / part) for one in (folder, run))
        for path, tensor in whole.items():
            np.testing.assert_array_equal(again[path].read(), tensor.read(), err_msg=path)


def test_another_run_goes_on_with_the_same_adapters_or_merges_them(run, tmp_path, capsys):
    before, _ = forward.apply(runs.open(run).model, runs.open(run).variables(), X)
    still = {"optim__lr": 0.0, "phases": [configs.phase("more", steps=1)]}
    for name, rows, said in (
        ("same", tiny.ROWS, "go on"),
        ("none", (), "are merged into the parameters"),
    ):
        train.run(tiny.config_of(run, rows, **still), tmp_path / name)
        assert f"the adapters of {run} {said}" in capsys.readouterr().out
        stored = runs.open(tmp_path / name)
        after, _ = forward.apply(stored.model, stored.variables(), X)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    (started,) = (line for line in log.read(tmp_path / "same") if line.get("event") == "phase_start")
    assert {row["source"] for row in started["table"] if row["group"].startswith("adapters/")} == {"loaded"}


def test_a_phase_says_which_modules_are_adapted(run):
    started = [line for line in log.read(run) if line.get("event") == "phase_start"]
    rows = {row["group"]: row for row in started[1]["table"] if row["group"].startswith("adapters/")}
    assert set(rows) == {f"adapters/layer_*/attention/{name}" for name in ("query", "key", "value", "out")}
    row = rows["adapters/layer_*/attention/query"]
    assert (row["shape"], row["source"], row["status"]) == ("lora, rank 2, 2 modules", "new", "trainable")
    assert row["params"] == 2 * 2 * (16 + 16)
    assert started[1]["trainable"] == 8 * 2 * (16 + 16) + 16 * 10 + 10
    assert {row["status"] for row in started[0]["table"] if row["group"].startswith("adapters/")} == {"frozen"}


def test_it_predicts_and_is_evaluated_with_its_adapters(run, tmp_path):
    from PIL import Image

    for number in range(2):
        Image.fromarray(np.full((16, 16, 3), 90 * number, np.uint8)).save(tmp_path / f"{number}.png")
    probs, _ = predict.predict(run, [str(tmp_path / f"{number}.png") for number in range(2)])
    stored = runs.open(run)
    x = stored.modality.make_preprocess(stored.model, train=False)(
        jax.numpy.stack([jax.numpy.full((16, 16, 3), 90 * number, "uint8") for number in range(2)])
    )
    expected = jax.nn.softmax(stored.model.apply(stored.merged(), x))
    np.testing.assert_allclose(probs, expected, rtol=1e-4, atol=1e-5)


WRONG = {
    "[('layer_0/atention/.*','lora')]": "matches no module; nearest: layer_0/attention",
    "[('head/dropout','lora')]": "matches no module",
    "[('layer_0','lora')]": "'lora' can't adapt layer_0",
    "[('all-linear','lora',{'rank':'x'})]": "rank='x' of 'lora' is of no kind that it takes",
    "[('all-linear','lora',{'rank':0})]": "rank=0 must be a whole number",
    "[('all-linear','nowhere.py:METHOD')]": "there is no file 'nowhere.py'",
    "[5]": "5 is no row",
}


@pytest.mark.parametrize("rows", WRONG)
def test_what_is_wrong_is_said_in_one_line(rows, source, tmp_path, capsys):
    args = [f"--config={tiny.__file__}:{source}", f"--workdir={tmp_path}/run", f"--config.adapters={rows}"]
    with pytest.raises(SystemExit) as exit:
        run_command(main.main, ["main", *args])
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert error.count("\n") == 1, error
    assert WRONG[rows] in error
    assert not (tmp_path / "run").exists()


def test_the_report_shows_what_is_adapted_and_how_far(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    page = report.write(tmp_path / "run").read_text()
    shown = page.split("What is adapted")[1].split("</section>")[0]
    assert "<code>layer_*/attention/query</code>" in shown
    assert shown.count("<tr>") == 5
    assert "layer_1" in shown.split("<svg")[1]
    stored = runs.open(run)
    variables = stored.variables()
    own = variables["adapters"]["layer_1"]["attention"]["query"]["lora"]
    found = peft.norms(variables["params"], variables["adapters"])["layer_1/attention/query"]
    kernel = variables["params"]["layer_1"]["attention"]["query"]["kernel"]
    np.testing.assert_allclose(found.change, np.linalg.norm(own["a"] @ own["b"]), rtol=1e-4)
    np.testing.assert_allclose(found.before, np.linalg.norm(kernel), rtol=1e-5)


def test_a_report_without_the_weights_is_one_without_adapters(moved, capsys):
    file, folder = moved
    file.unlink()
    assert "What is adapted" not in report.write(folder).read_text()
    assert "no adapters are shown" in capsys.readouterr().err


def test_one_process_reads_it_without_the_others(run, monkeypatch):
    monkeypatch.setattr(digests, "gather", lambda *_: pytest.fail("this waits for all processes"))
    assert "params" in runs.open(run).variables()
