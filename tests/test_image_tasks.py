"""Images are trained on with several classes, with a number, and as embeddings, from arrays to a report."""

import cv2
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, log_loss

from jtransfer import config as configs
from jtransfer import data, predict, report, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import build, log
from jtransfer.runs import open as open_run

SIDE, TRAIN, TEST = 8, 64, 32
NOISE = 20  # of a pixel


def images(means, seed):
    """Images of one colour each, with noise: means [N, 3] of 0 to 1."""
    noise = np.random.default_rng(seed).normal(0, NOISE, (len(means), SIDE, SIDE, 3))
    return (40 + 160 * means[:, None, None] + noise).clip(0, 255).astype(np.uint8)


def arrays_of(kind):
    rng = np.random.default_rng(0)
    means = rng.random((TRAIN + TEST, 3))
    if kind == "multi_label":  # a class for each channel that is bright
        means = (means > 0.5).astype(float)
    labels = {
        "multi_label": means.astype(np.float32),
        "regress": means.mean(1).astype(np.float32),
        "embed": np.arange(TRAIN + TEST) % 2,
    }[kind]
    found = {"images": images(means, 1), "labels": labels}
    return found | ({"images_pair": images(means, 2)} if kind == "embed" else {})


def split(arrays):
    """The same arrays as two splits."""
    names = {"images": "x_{}", "labels": "y_{}", "images_pair": "x_{}_pair"}
    parts = {"train": slice(TRAIN), "test": slice(TRAIN, None)}
    return {names[key].format(part): x[rows] for key, x in arrays.items() for part, rows in parts.items()}


def config_of(folder, kind, arrays=None, **fields):
    np.savez(folder / "images.npz", **split(arrays_of(kind) if arrays is None else arrays))
    config = configs.default()
    config.data.name = f"npz:{folder}/images.npz"
    config.data.transform = f"resize({SIDE})|flip_lr"
    config.model.name = "vit_tiny_patch16"
    config.model.fields = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "patch": 4, "image_size": SIDE}
    config.optim.lr = 1e-2
    config.batch_size = 16
    config.eval_every = config.log_every = 40
    config.phases = [configs.phase("finetune", steps=40)]
    config.update(fields)
    return config


def run(folder, kind, *args, **fields):
    train.run(config_of(folder, kind, *args, **fields), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return run(tmp_path_factory.mktemp("several"), "multi_label")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    return run(tmp_path_factory.mktemp("numbers"), "regress")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    arrays = {name: array for name, array in arrays_of("embed").items() if name != "labels"}
    return run(tmp_path_factory.mktemp("pairs"), "embed", arrays, task="embed")


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    arrays = {name: array for name, array in arrays_of("embed").items() if name != "images_pair"}
    return run(tmp_path_factory.mktemp("views"), "embed", arrays, task="embed")


def outcome(folder):
    """(the last metrics of the test split, what was kept of it)."""
    last = [line for line in log.read(folder) if line.get("split") == "test"][-1]
    return last, open_run(folder).predictions


@pytest.fixture
def files(tmp_path):
    """Four images of the test split, as files."""
    return lambda kind: [written(tmp_path / f"{i}.png", arrays_of(kind)["images"][TRAIN + i]) for i in range(4)]


def written(path, image):
    cv2.imwrite(str(path), image[..., ::-1])
    return str(path)


def predicted(folder, files, capsys):
    run_command(predict.main, ["predict", f"--workdir={folder}", *files])
    return capsys.readouterr().out.splitlines()


def reported(folder):
    run_command(report.main, ["report", str(folder)])
    return (folder / "report.html").read_text()


def test_several_classes_are_learnt_and_measured_as_scikit_learn_does(several):
    assert open_run(several).config.task == "multi_label"
    said, kept = outcome(several)
    true, found = arrays_of("multi_label")["labels"][TRAIN:], kept["logits"] > 0
    np.testing.assert_array_equal(kept["label"], true)
    assert said["micro_f1"] == pytest.approx(f1_score(true, found, average="micro"))
    assert said["macro_f1"] == pytest.approx(f1_score(true, found, average="macro"))
    assert said["accuracy"] == pytest.approx(accuracy_score(true, found))
    probs = 1 / (1 + np.exp(-kept["logits"].astype(np.float64)))
    assert said["loss"] == pytest.approx(log_loss(true.reshape(-1), probs.reshape(-1)), rel=1e-5)
    assert said["micro_f1"] > 0.9


def test_several_classes_are_predicted_and_reported(several, files, capsys):
    given, (_, kept) = files("multi_label"), outcome(several)
    lines = predicted(several, given, capsys)
    for line, logits in zip(lines, kept["logits"], strict=False):
        best = np.argmax(logits)
        assert f"  {best} {1 / (1 + np.exp(-logits[best])):.3f}"[:-1] in line  # the last digit may be rounded
    assert "micro-F1" in reported(several)


def test_numbers_are_learnt_and_measured_as_scipy_does(numbers):
    assert open_run(numbers).config.task == "regress"
    said, kept = outcome(numbers)
    true, found = arrays_of("regress")["labels"][TRAIN:], kept["logits"][:, 0].astype(np.float64)
    np.testing.assert_allclose(kept["label"], true, rtol=1e-6)
    assert said["spearman"] == pytest.approx(stats.spearmanr(found, true).statistic, rel=1e-5)
    assert said["pearson"] == pytest.approx(stats.pearsonr(found, true).statistic, rel=1e-5)
    assert said["mae"] == pytest.approx(np.abs(found - true).mean(), rel=1e-5)
    assert said["loss"] == pytest.approx(np.square(found - true).mean(), rel=1e-5)
    assert said["spearman"] > 0.7


def test_numbers_are_predicted_and_reported(numbers, files, capsys):
    lines = predicted(numbers, files("regress"), capsys)
    _, kept = outcome(numbers)
    found = [float(line.rsplit(maxsplit=1)[1]) for line in lines]
    np.testing.assert_allclose(found, kept["logits"][:4, 0], rtol=2e-3, atol=2e-3)
    page = reported(numbers)
    assert "Grad-CAM" in page
    assert 'alt="where example' in page
    assert "Spearman" in page
    assert page.count("data:image/") > 3  # pictures of those furthest from their label


@pytest.mark.parametrize("name", ["pairs", "views"])
def test_embeddings_are_learnt_and_partners_are_found(name, request):
    said, kept = outcome(request.getfixturevalue(name))
    a, b = np.moveaxis(kept["embeddings"].astype(np.float64), 1, 0)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-5)
    assert said["retrieval"] == pytest.approx(((a @ b.T).argmax(1) == np.arange(TEST)).mean())
    assert said["retrieval"] > 0.3  # 1 of 32 by chance
    losses = [line["loss"] for line in log.read(request.getfixturevalue(name)) if line.get("split") == "train"]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("name", ["pairs", "views"])
def test_embeddings_are_predicted_and_reported(name, request, files, capsys):
    folder = request.getfixturevalue(name)
    given, (_, kept) = files("embed"), outcome(folder)
    lines = predicted(folder, given, capsys)
    a = kept["embeddings"][:4, 0].astype(np.float64)
    near = a @ a.T - 3 * np.eye(4)
    for line, row in zip(lines, near, strict=True):
        assert line.endswith(given[row.argmax()])
    assert "own partner nearest" in reported(folder)


def read(folder, arrays, name="images"):
    np.savez(folder / f"{name}.npz", **arrays)
    return data.open({"name": f"npz:{folder}/{name}.npz", "modality": "image"}, "all")


def test_partners_are_transformed_as_their_images(tmp_path):
    """Two views: the image and its partner, as the arrays have them; of training and of evaluation."""
    config = config_of(tmp_path, "embed", task="embed")
    config.data.transform = f"resize({SIDE})"
    prepared, arrays = build.prepare(config, tmp_path / "run"), arrays_of("embed")
    for is_training in (True, False):
        transform = prepared.target.transform(prepared.model, train=is_training)
        row = transform(prepared.target.sources["test"][3], np.random.default_rng(0))
        expected = np.stack([arrays["images"][TRAIN + 3], arrays["images_pair"][TRAIN + 3]])
        np.testing.assert_array_equal(row["inputs"], expected)


def test_an_array_of_partners_is_read_beside_each_split(tmp_path):
    arrays = arrays_of("embed")
    source = read(tmp_path, arrays)
    assert set(source[5]) == {"image", "image_pair", "label"}
    np.testing.assert_array_equal(source[5]["image_pair"], arrays["images_pair"][5])
    without = read(tmp_path, {name: x for name, x in arrays.items() if name != "images_pair"}, "without")
    assert set(without[5]) == {"image", "label"}
    alone = read(tmp_path, {name: x for name, x in arrays.items() if name != "labels"}, "alone")
    assert (len(alone), set(alone[5]), alone.label_kind) == (TRAIN + TEST, {"image", "image_pair"}, "none")


@pytest.mark.parametrize(
    ("partners", "says"),
    [
        (np.zeros((3, SIDE, SIDE, 3), np.uint8), "split all: 96 examples but 3 partners"),
        (np.zeros((TRAIN + TEST, SIDE, SIDE, 3), np.float32), "images must be uint8 [N, H, W]"),
    ],
)
def test_partners_that_are_none_are_refused(partners, says, tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path, arrays_of("embed") | {"images_pair": partners})
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("embed", {"task": "tag"}, "task='tag' needs labels of the kind 'tags'; these are 'class'"),
        ("embed", {"task": "seq2seq"}, "'seq2seq'"),
        ("embed", {"task": "lm"}, "'lm'"),
        ("regress", {"task": "classify"}, "task='classify' needs labels of the kind 'class'; these are 'number'"),
        ("multi_label", {"task": "regress"}, "task='regress' needs labels of the kind 'number'; these are 'classes'"),
        ("embed", {"task": "embed", "mixup": 0.2}, "mixup=0.2 can't be done for task='embed'; set mixup=0"),
    ],
)
def test_what_images_can_not_is_said_in_one_line_before_anything_is_written(kind, fields, says, tmp_path):
    with pytest.raises(InputError) as error:
        run(tmp_path, kind, **fields)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
