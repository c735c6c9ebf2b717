"""mixup and CutMix in runs: inputs and labels are mixed by the same weights; what can't be mixed is refused first."""

import json

import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import train
from jtransfer.core.errors import InputError
from jtransfer.runs import log

SIDE = 8
VALUES = (0, 100, 200)  # of all pixels of an image, or numbers of a vector, by class

SEEN = f"""
import jax.numpy as jnp

from jtransfer.objectives import Term


def seen(context, *, scale=255.0):
    \"\"\"What a step's batch holds; it has no part in the loss.\"\"\"

    def loss(view):
        batch = view.batch["target"]
        inputs, target, label = batch["inputs"], batch["target"], batch["label"]
        values = jnp.asarray({VALUES}) / scale
        target = jnp.eye(3)[target] if target.dtype == jnp.int32 else target
        wanted = target @ values if target.ndim == 2 else target
        own = values[label] if label.dtype == jnp.int32 else label
        axes = tuple(range(1, inputs.ndim))
        return jnp.float32(0), {{
            "gap": jnp.abs(inputs.mean(axes) - wanted).max(),
            "moved": jnp.abs(wanted - own).max(),
            "spread": (inputs.max(axes) - inputs.min(axes)).max(),
            "total": target.sum(-1).min() if target.ndim == 2 else jnp.float32(1),
            "axes": jnp.float32(inputs.ndim),
        }}

    return Term(loss)
"""


@pytest.fixture
def seen(tmp_path):
    (tmp_path / "seen.py").write_text(SEEN)
    return f"{tmp_path}/seen.py:seen"


def images(folder, seen, **fields):
    """A run on images of one value each, which the model sees from 0 to 1."""
    labels = np.arange(48) % 3
    pixels = np.broadcast_to(np.array(VALUES, np.uint8)[labels][:, None, None, None], (48, SIDE, SIDE, 3))
    arrays = {"x_train": pixels[:32], "x_test": pixels[32:], "y_train": labels[:32], "y_test": labels[32:]}
    np.savez(folder / "images.npz", **arrays)
    config = configs.default()
    config.data.name = f"npz:{folder}/images.npz"
    config.data.transform = f"resize({SIDE})|normalize(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))"
    config.model.name = "vit_tiny_patch16"
    config.model.fields = {"width": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8, "patch": 4, "image_size": SIDE}
    config.objective = ["task", seen]
    config.batch_size = 16
    config.eval_every = 16
    config.log_every = 1
    config.phases = [configs.phase("finetune", steps=16)]
    config.update(fields)
    return config


def trained(config, folder):
    """What the steps saw, metric → [steps]."""
    train.run(config, folder / "run")
    lines = [line for line in log.read(folder / "run") if line.get("split") == "train"]
    assert np.isfinite([line["task"] for line in lines]).all()
    return {name: np.array([line[name] for line in lines]) for name in ("gap", "moved", "spread", "total", "axes")}


def test_images_are_not_mixed_unless_it_is_asked_for(seen, tmp_path):
    found = trained(images(tmp_path, seen), tmp_path)
    assert found["moved"].max() == 0


def test_mixup_of_images(seen, tmp_path):
    found = trained(images(tmp_path, seen, mixup=0.8), tmp_path)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-5)
    np.testing.assert_allclose(found["total"], 1, atol=1e-5)
    np.testing.assert_allclose(found["spread"], 0, atol=1e-5)  # all pixels alike
    assert (found["moved"] > 0).mean() > 0.9


def test_cutmix_of_images(seen, tmp_path):
    found = trained(images(tmp_path, seen, cutmix=0.8), tmp_path)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-5)  # labels by the pixels that really came
    np.testing.assert_allclose(found["total"], 1, atol=1e-5)
    assert set(np.round(255 * found["spread"]).astype(int)) <= {0, 100, 200}
    assert (found["spread"] > 0).mean() > 0.5


def test_with_both_a_batch_gets_either(seen, tmp_path):
    found = trained(images(tmp_path, seen, mixup=0.8, cutmix=0.8), tmp_path)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-5)
    cut = found["spread"] > 1e-3
    assert 0.1 < cut.mean() < 0.9
    assert found["moved"][~cut].max() > 0.05


def test_mixup_of_cached_features(seen, tmp_path):
    config = images(tmp_path, seen, mixup=0.8)
    config.phases = [configs.phase("probe", trainable="head/.*", steps=8, cache=True)]
    found = trained(config, tmp_path)
    assert set(found["axes"]) == {2}  # features [B, d]
    np.testing.assert_allclose(found["total"], 1, atol=1e-5)
    assert (found["moved"] > 0).mean() > 0.8


def test_mixup_of_numbers_mixes_the_numbers(seen, tmp_path):
    config = images(tmp_path, seen, mixup=0.8)
    with np.load(tmp_path / "images.npz") as held:
        arrays = dict(held)
    for split in ("train", "test"):
        arrays[f"y_{split}"] = (np.array(VALUES)[arrays[f"y_{split}"]] / 255).astype(np.float32)
    np.savez(tmp_path / "images.npz", **arrays)
    found = trained(config, tmp_path)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-5)
    assert (found["moved"] > 0).mean() > 0.9


def test_mixup_of_vectors(seen, tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    labels = np.arange(32) % 3
    vectors = np.repeat(np.array(VALUES, np.float32)[labels][:, None], 5, axis=1)
    np.savez(tmp_path / "vectors.npz", x_train=vectors, y_train=labels, x_test=vectors, y_test=labels)
    config.data.statistics = "none"
    config.objective = ["task", (seen, {"scale": 1.0})]
    config.mixup = 0.8
    found = trained(config, tmp_path)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-3)
    assert (found["moved"] > 0).mean() > 0.8


def texts(folder):
    rows = [{"text": "good day" if i % 2 else "bad day", "label": i % 2} for i in range(16)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    config = configs.default()
    config.data.name = f"jsonl:{folder}/texts.jsonl"
    config.data.train, config.data.test = "all[:8]", "all[8:]"
    config.data.tokenizer, config.data.length = str(folder), 8
    config.model.name = "bert_tiny"
    config.model.fields = {"width": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8, "vocab_size": 8, "max_length": 8}
    config.batch_size = 8
    config.phases = [configs.phase("finetune", steps=1)]
    return config


def refused(config, folder):
    """The line that answers a config; nothing is written."""
    with pytest.raises(InputError) as error:
        train.run(config, folder / "run")
    assert not (folder / "run").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("mixup", 0.2, "mixup=0.2 can't be done with texts; set mixup=0"),
        ("cutmix", 1.0, "cutmix=1.0 can't be done with texts; set cutmix=0"),
        ("data.transform", "flip_lr", "data.transform is for images, and these are texts; leave it out"),
        ("data.eval_transform", "resize(8)", "data.eval_transform is for images, and these are texts; leave it out"),
        ("data.statistics", "none", "data.statistics is for vectors, and these are texts; leave it out"),
    ],
)
def test_what_texts_can_not_is_said_first(field, value, says, tmp_path):
    config = texts(tmp_path)
    section, _, name = field.rpartition(".")
    (config[section] if section else config)[name] = value
    assert refused(config, tmp_path) == says


def test_cutmix_of_cached_features_is_refused(seen, tmp_path):
    config = images(tmp_path, seen, cutmix=1.0)
    config.phases = [configs.phase("probe", trainable="head/.*", steps=8, cache=True)]
    says = refused(config, tmp_path)
    assert says.startswith("cutmix=1.0 cuts boxes out of images, but phase probe is trained on cached features")


def test_pairs_are_not_mixed(seen, tmp_path):
    assert refused(images(tmp_path, seen, mixup=0.2, task="embed"), tmp_path).startswith("mixup=0.2 can't be done for")


def test_cutmix_of_vectors_is_refused(tmp_path):
    config = tiny_vectors.config_of(tmp_path)
    config.cutmix = 1.0
    assert refused(config, tmp_path) == "cutmix=1.0 can't be done with vectors; set cutmix=0"
