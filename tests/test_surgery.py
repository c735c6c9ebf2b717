"""Surgery equals the libraries' it is taken from, and loading says what it did."""

import functools

import jax
import numpy as np
import pytest
import references
from test_weights import THIN, forward, numbered, tiny

from jtransfer import models, weights
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.runs import initialize, summary
from jtransfer.weights import surgery
from jtransfer.weights.identify import manifest

WANTED = references.arrays("surgery")
CLOSE = {"rtol": 0, "atol": 2e-5}


def theirs(kind):
    """What follows `kind` in the name → their array."""
    return {name.split(" ", 1)[1]: array for name, array in WANTED.items() if name.startswith(f"{kind} ")}


def hwio(kernel):
    return kernel.transpose(2, 3, 1, 0)


@pytest.mark.parametrize(("what", "wanted"), theirs("positions").items())
def test_positions_are_resized_as_pytorch_resizes(what, wanted):
    grid, antialias = what.split()
    new = tuple(map(int, grid.split("×")))
    table = references.fill("positions", (1, 37, 4))
    resized = surgery.resize_positions(table, (5, 7), new, prefix=2, antialias=antialias == "True")
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, wanted, **CLOSE)
    np.testing.assert_array_equal(resized[:, :2], table[:, :2])


@pytest.mark.parametrize("antialias", [True, False])
def test_positions_of_the_same_grid_stay_and_a_wrong_grid_is_refused(antialias):
    table = references.fill("positions", (1, 35, 4))
    np.testing.assert_allclose(surgery.resize_positions(table, (5, 7), (5, 7), 0, antialias), table, rtol=1e-6)
    with pytest.raises(InputError, match="35 positions are not 1 tokens and a grid of 5×7"):
        surgery.resize_positions(table, (5, 7), (3, 3), 1)


@pytest.mark.parametrize(("side", "wanted"), theirs("patches").items())
def test_patches_are_resized_as_timm_resizes(side, wanted):
    kernel = hwio(references.fill("kernel", (2, 3, 8, 8)))
    resized = surgery.resize_patches(kernel, (int(side), int(side)))
    np.testing.assert_allclose(resized, hwio(wanted), **CLOSE)


def test_a_larger_patch_answers_as_the_small_one_did():
    kernel, patch = hwio(references.fill("kernel", (2, 3, 8, 8))), references.fill("patch", (1, 64, 3))
    enlarged = surgery.resize_positions(patch, (8, 8), (14, 20), 0).reshape(14, 20, 3)
    before = np.einsum("hwc,hwcd->d", patch.reshape(8, 8, 3), kernel)
    after = np.einsum("hwc,hwcd->d", enlarged, surgery.resize_patches(kernel, (14, 20)))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "wanted"), theirs("channels").items())
def test_channels_are_adapted_by_timms_rule(channels, wanted):
    kernel = hwio(references.fill("kernel", (2, 3, 8, 8)))
    np.testing.assert_allclose(surgery.adapt_channels(kernel, int(channels)), hwio(wanted), **CLOSE)


@pytest.mark.parametrize(("window", "wanted"), theirs("bias").items())
def test_relative_biases_are_resized_as_swins_authors_do(window, wanted):
    table = references.fill("bias", (49, 3))
    np.testing.assert_allclose(surgery.resize_bias(table, int(window)), wanted, **CLOSE)
    with pytest.raises(InputError, match="48 relative positions are not those of a square window"):
        surgery.resize_bias(table[1:], 3)


def test_new_words_start_as_the_mean_of_all():
    table = references.fill("words", (5, 3))
    longer = surgery.extend_vocabulary(table, 7)
    np.testing.assert_array_equal(longer[:5], table)
    np.testing.assert_allclose(longer[5:], np.tile(table.mean(axis=0), (2, 1)), rtol=1e-6)
    with pytest.raises(InputError, match="a vocabulary of 5 can't be extended to 4"):
        surgery.extend_vocabulary(table, 4)


def test_classes_of_both_heads_keep_their_values():
    old, fresh = references.fill("old", (4, 3)), references.fill("fresh", (4, 2))
    kept = surgery.keep_classes(old, fresh, ["cat", "dog", "owl"], ["owl", "fox"])
    np.testing.assert_array_equal(kept, np.stack([old[:, 2], fresh[:, 1]], axis=1))
    bias = surgery.keep_classes(old[0], fresh[0], ["cat", "dog", "owl"], ["fox", "dog"])
    np.testing.assert_array_equal(bias, [fresh[0, 0], old[0, 1]])
    np.testing.assert_array_equal(surgery.keep_classes(old, fresh, ["a", "b", "c"], ["d", "e"]), fresh)
    with pytest.raises(InputError, match="2 class names for a head of 3 classes"):
        surgery.keep_classes(old, fresh, ["cat", "dog"], ["owl", "fox"])


@functools.cache
def vit(name="vit_tiny_patch16", **fields):
    return models.create(name, 10, **(THIN["vit"] | {"image_size": 64} | fields))


@functools.cache
def source():
    """A ViT's tensors by timm's names, of a grid of 4×4 patches."""
    return weights.to_tensors(numbered(vit()), vit())


@pytest.mark.parametrize(
    ("fields", "path", "what"),
    [
        ({"image_size": 96}, "embed/positions", "a grid of 4×4 → 6×6"),
        ({"image_size": (48, 96)}, "embed/positions", "a grid of 4×4 → 3×6"),
        ({"image_size": 32, "patch": 8}, "embed/patches/kernel", "patches of 16×16 → 8×8"),
        ({"channels": 1}, "embed/patches/kernel", "channels: 3 → 1"),
        (
            {"image_size": 32, "patch": 8, "channels": 5},
            "embed/patches/kernel",
            "patches of 16×16 → 8×8, channels: 3 → 5",
        ),
    ],
)
def test_a_load_adapts_when_asked_and_says_so(fields, path, what):
    model = vit(**fields)
    variables, report = weights.load(source(), model, adapt=True)
    assert report.adapted == ((path, what),)
    assert what in str(report)
    assert not report.reinitialised
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
    with pytest.raises(InputError, match=rf"(?s)1 problems.* ! {path}: .*\(adapt=True changes it: {what}\)"):
        weights.load(source(), model)


@pytest.mark.parametrize(("scheme", "antialias"), [("timm", True), ("transformers vit", False)])
def test_positions_are_resized_as_the_library_of_the_source_does(scheme, antialias):
    held = numbered(vit())
    loaded, _ = weights.load(weights.to_tensors(held, vit(), scheme=scheme), vit(image_size=32), adapt=True)
    table = np.asarray(held["params"]["embed"]["positions"])
    expected = surgery.resize_positions(table, (4, 4), (2, 2), antialias=antialias)
    np.testing.assert_allclose(loaded["params"]["embed"]["positions"], expected, rtol=1e-6)


@pytest.mark.parametrize("fields", [{"width": 64}, {"image_size": 96, "mlp_dim": 32}])
def test_another_width_is_no_matter_of_surgery(fields):
    with pytest.raises(InputError, match=r"all of them shapes|(fc1|query)/kernel: the model has"):
        weights.load(source(), vit(**fields), adapt=True)


def test_a_model_of_grey_images_sees_in_them_what_that_of_colours_saw():
    colours, tensors = tiny()
    grey, _ = tiny(channels=1)
    images = references.images(32)[..., :1]
    wanted = forward(colours)(weights.load(tensors, colours)[0], images.repeat(3, axis=-1))
    variables, report = weights.load(tensors, grey, adapt=True)
    assert report.adapted == (("stem/conv/kernel", "channels: 3 → 1"),)
    np.testing.assert_allclose(forward(grey)(variables, images), wanted, rtol=1e-3, atol=1e-4)


def test_a_head_keeps_the_classes_that_it_knows_by_name():
    model, tensors = tiny(classes=3)
    names = [f"class {i}" for i in range(10)], ["class 7", "new", "class 2"]
    variables, report = weights.load(tensors, model, source_class_names=names[0], class_names=names[1])
    what = "2 of 3 classes kept by name"
    assert set(report.adapted) == {("head/dense/kernel", what), ("head/dense/bias", what)}
    assert not report.reinitialised
    fresh = weights.load(tensors, model)[0]["params"]["head"]["dense"]["kernel"]
    kernel = variables["params"]["head"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel[:, [0, 2]], tensors["fc.weight"].read().T[:, [7, 2]])
    np.testing.assert_array_equal(kernel[:, 1], fresh[:, 1])


@pytest.mark.parametrize("reinit", [None, ["head/.*"]])
def test_a_head_without_a_known_class_or_that_is_not_wanted_is_drawn_anew(reinit):
    model, tensors = tiny(classes=3)
    known = ["0", "1", "2"] if reinit else ["a", "b", "c"]
    _, report = weights.load(
        tensors, model, reinit=reinit, source_class_names=[str(i) for i in range(10)], class_names=known
    )
    assert not report.adapted
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}


@pytest.fixture
def named(tmp_path):
    """A converted checkpoint whose head knows ten classes."""
    (tmp_path / "named").mkdir()
    model = vit()
    weights.save(numbered(model), model, tmp_path / "named" / "model.safetensors", scheme="jtransfer")
    report = weights.load(source(), model)[1]
    manifest.write(tmp_path / "named", manifest.describe("vit_tiny_patch16", model, report, KINDS))
    return tmp_path / "named"


KINDS = tuple(f"kind {i}" for i in range(10))


def test_restore_does_all_of_it_for_a_source_that_names_its_classes(named):
    asked = {"image_size": (48, 96), "channels": 1, "classes": ["kind 7", "new", "kind 2"]}
    model, variables, report = weights.restore(named, adapt=True, **asked)
    assert dict(report.adapted) == {
        "embed/positions": "a grid of 4×4 → 3×6",
        "embed/patches/kernel": "channels: 3 → 1",
        "head/dense/kernel": "2 of 3 classes kept by name",
        "head/dense/bias": "2 of 3 classes kept by name",
    }
    old = numbered(vit())["params"]["head"]["dense"]["kernel"]
    np.testing.assert_array_equal(variables["params"]["head"]["dense"]["kernel"][:, [0, 2]], old[:, [7, 2]])
    assert forward(model)(variables, model.example_input(2)).shape == (2, 3)
    (named / "source.json").unlink()
    with pytest.raises(InputError, match="no file beside it names its classes"):
        weights.restore(named, classes=["kind 7"])


def test_a_run_starts_from_another_input_and_keeps_the_classes_that_it_knows(named):
    model = models.create("vit_tiny_patch16", 2, **THIN["vit"], image_size=96)
    mesh = sharding.make_mesh({"data": 8})
    variables, report = initialize.variables(str(named), model, mesh, "replicate", class_names=("kind 7", "new"))
    assert dict(report.adapted)["embed/positions"] == "a grid of 4×4 → 6×6"
    assert dict(report.adapted)["head/dense/bias"] == "1 of 2 classes kept by name"
    told, mask = initialize.counts(report), jax.tree.map(lambda _: True, variables["params"])
    rows = summary.table(variables["params"], mask, model.stages, "x", told)
    assert {row["group"]: row["source"] for row in rows if row["group"] == "head"} == {"head": "adapted"}
    _, report = initialize.variables(str(named), model, mesh, "replicate", class_names=("a", "b"))
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}


def test_a_language_models_head_is_extended_with_its_embedding():
    fields = {"max_length": 16, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "tied": False}
    old, new = (models.create("gpt2", vocab_size=size, **fields) for size in (50, 53))
    variables, report = weights.load(weights.to_tensors(numbered(old), old), new, adapt=True)
    assert dict(report.adapted) == dict.fromkeys(
        ("embed/tokens/embedding", "head/dense/kernel"), "a vocabulary of 50 → 53"
    )
    kernel, before = (v["params"]["head"]["dense"]["kernel"] for v in (variables, numbered(old)))
    np.testing.assert_array_equal(kernel[:, :50], before)
    np.testing.assert_allclose(kernel[:, 50:], np.repeat(before.mean(axis=1, keepdims=True), 3, axis=1), rtol=1e-6)


def test_classes_in_another_order_are_put_in_order():
    model, tensors = tiny()
    names = [str(i) for i in range(10)]
    variables, _ = weights.load(tensors, model, source_class_names=names, class_names=names[::-1])
    np.testing.assert_array_equal(variables["params"]["head"]["dense"]["bias"], tensors["fc.bias"].read()[::-1])
