"""Images that are not square: a run, what is made of it, and the grids of positions that come from elsewhere."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from jtransfer import models, predict, train, weights
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.modalities.image.modality import Image as Images
from jtransfer.runs import config_file, initialize
from jtransfer.runs import model as runs_model
from jtransfer.training import checkpoint
from jtransfer.weights import conversion, libraries, surgery

THIN = {"patch": 8, "width": 8, "depth": 1, "num_heads": 2, "mlp_dim": 8}
CONFIG = f"""
from jtransfer import config as configs

def get_config():
    config = configs.default()
    config.model.name = "vit_tiny_patch16"
    config.model.fields = {THIN | {"image_size": 16}}
    config.data.train = config.data.test = "test[:16]"
    config.batch_size = 8
    config.phases = [configs.phase("all", steps=2)]
    return config
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "oblong.py"
    file.write_text(CONFIG)
    return config_file.load(str(file), ["--config.model.fields.image_size=(16, 32)"])


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train.run(config, folder)
    return folder


def vit(size):
    return models.create("vit_tiny_patch16", 10, image_size=size, **THIN)


def positions(variables):
    return np.asarray(variables["params"]["embed"]["positions"])


def test_a_run_keeps_its_shape_and_goes_on(config, run):
    before = (run / "config.json").read_text()
    assert json.loads(before)["model"]["fields"]["image_size"] == [16, 32]
    train.run(config, run)
    assert (run / "config.json").read_text() == before


def test_what_the_model_looks_at_has_its_shape(config, run):
    modality = Images(transform=config.data.transform)
    model = runs_model.create(config, modality, 10)
    made = {name: modality.pipeline(model, train=name == "train") for name in ("train", "eval")}
    assert made["train"].size == made["eval"].size == (16, 32)
    image = np.zeros((80, 160, 3), np.uint8)
    image[2:78, 4:156] = 255
    assert made["eval"].host(image).min() > 240  # the crop of 0.9 leaves the middle
    assert made["eval"].host(np.full((50, 33, 3), 7, np.uint8)).shape == (16, 32, 3)


def test_predictions_are_those_of_such_images(run, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)).save(tmp_path / "x.png")
    probs, _ = predict.predict(run, [str(tmp_path / "x.png")])
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("format", ["safetensors", "npz", "timm", "hf"])
def test_exported_and_converted_it_keeps_its_shape(format, run, tmp_path):
    export.export(run, tmp_path / "exported", format)
    conversion.convert(tmp_path / "exported", tmp_path / "converted")
    for folder in ("exported", "converted"):
        model, variables, report = weights.restore(tmp_path / folder)
        assert model.sides == (16, 32)
        assert (report.adapted, report.reinitialised) == ((), ())
        np.testing.assert_array_equal(
            positions(variables), checkpoint.lazy_params(run)["params/embed/positions"].read()
        )


def test_the_grid_of_a_run_is_resized_for_another(run):
    mesh = sharding.make_mesh({"data": 1}, jax.devices()[:1])
    variables, report = initialize.variables(str(run), vit((24, 16)), mesh, "replicate")
    assert report.adapted == (("embed/positions", "a grid of 2×4 → 3×2"),)
    table = checkpoint.lazy_params(run)["params/embed/positions"].read()
    expected = surgery.resize_positions(table, (2, 4), (3, 2), prefix=1)
    np.testing.assert_array_equal(positions(variables), expected)


@pytest.fixture
def source(tmp_path):
    """Writes a checkpoint of images of 16×32 pixels, and what says so beside it."""

    def write(kind):
        model = vit((16, 32))
        shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
        rng = np.random.default_rng(0)
        variables = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
        library = "timm" if kind == "none" else kind.removeprefix("converted ")
        save_file(libraries.tensors(variables, model, library), tmp_path / "model.safetensors")
        if kind != "none":
            config = getattr(libraries, library)("vit_tiny_patch16", model, ())
            (tmp_path / "config.json").write_text(json.dumps(config))
        converted = kind.startswith("converted")
        if converted:
            conversion.convert(tmp_path, tmp_path / "new")
        return tmp_path / ("new" if converted else ""), positions(variables)

    return write


@pytest.mark.parametrize("kind", ["timm", "transformers", "converted timm", "converted transformers"])
@pytest.mark.parametrize(("size", "grid"), [((32, 16), (4, 2)), ((16, 64), (2, 8)), ((32, 32), (4, 4)), (8, (1, 1))])
def test_the_files_beside_a_checkpoint_tell_its_grid(kind, size, grid, source):
    folder, table = source(kind)
    _, variables, report = weights.restore(folder, image_size=size, adapt=True)
    assert report.adapted == (("embed/positions", f"a grid of 2×4 → {grid[0]}×{grid[1]}"),)
    expected = surgery.resize_positions(table, (2, 4), grid, prefix=1, antialias="timm" in kind)
    np.testing.assert_array_equal(positions(variables), expected)
    assert not weights.restore(folder, adapt=True)[2].adapted


def test_a_grid_that_no_file_tells_has_to_be_given(source):
    folder, table = source("none")
    path = folder / "model.safetensors"
    with pytest.raises(InputError, match=r"! embed/positions: the model has \[1, 17, 8\], the source .*\[1, 9, 8\]"):
        weights.load(path, vit(32), adapt=True)
    variables, _ = weights.load(path, vit(32), adapt=True, source_image_size=(16, 32))
    np.testing.assert_array_equal(positions(variables), surgery.resize_positions(table, (2, 4), (4, 4), prefix=1))
    with pytest.raises(InputError, match="embed/positions"):
        weights.load(path, vit(32), adapt=True, source_image_size=(16, 48))


def test_a_processor_tells_the_shape_where_the_config_does_not(tmp_path):
    model = models.create("resnet18", 3, depths=(1, 1, 1, 1), image_size=(32, 64))
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    save_file(libraries.tensors(variables, model, "transformers"), tmp_path / "model.safetensors")
    for name, content in {
        "config.json": libraries.transformers("resnet18", model, ()),
        "preprocessor_config.json": {"image_processor_type": "ViTImageProcessor", "size": [32, 64]},
    }.items():
        (tmp_path / name).write_text(json.dumps(content))
    found = weights.describe(tmp_path).model
    assert found.sides == (32, 64)
    assert found.pixels.transform == "resize((32, 64), 'bilinear', 'pillow')"
