"""What is exported to ONNX gives, in onnxruntime, what the libraries give that the weights come from."""

import importlib
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import encoders
from test_export import PIXELS, store

from jtransfer import export as command
from jtransfer import weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export, onnx_file

MISSING = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason="the extra `onnx` is not installed")


def session(made):
    import onnxruntime

    made = made if isinstance(made, bytes) else made.SerializeToString()
    return onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])


def of_file(folder):
    return session((folder / "model.onnx").read_bytes())


FUNCTIONS = {
    "products": lambda x: jnp.einsum("bnd,bmd->bnm", x, x) @ x,
    "products over two axes": lambda x: jnp.einsum("bnd,ndk->bk", x, jnp.ones((4, 6, 3))),
    "heads": lambda x: jnp.einsum("bnhd,bmhd->bhnm", *[x.reshape(*x.shape[:2], 2, 3)] * 2),
    "rows of a table": lambda x: jnp.arange(24.0).reshape(8, 3)[jnp.abs(x).astype(jnp.int32) % 8],
    "columns of a table": lambda x: x[:, :, jnp.array([[0, 5], [3, 2]])],
    "one place each": lambda x: x[jnp.arange(x.shape[0]), jnp.argmax(x[..., 0], axis=1)],
    "along an axis": lambda x: jnp.take_along_axis(x, jnp.argmax(x, axis=1, keepdims=True), axis=1),
    "every second": lambda x: x[:, ::2, 1::3],
    "backwards": lambda x: x[:, ::-1],
    "last": lambda x: x[:, -1, :2],
    "a window": lambda x: jax.lax.dynamic_slice(x, (0, x.shape[0] - 1, 1), (1, 2, 3)),
    "pads": lambda x: jax.lax.pad(x, -1.5, ((0, 0, 0), (2, 1, 0), (-1, 3, 0))),
    "sums": lambda x: jnp.cumsum(x, axis=1) + jnp.cumsum(x[:, ::-1], axis=1)[:, ::-1],
    "softmax": lambda x: jax.nn.log_softmax(x) + jax.nn.softmax(x, axis=1),
    "activations": lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.silu(x) * jax.nn.hard_swish(x),
    "choices": lambda x: jnp.where((x > 0) & ~(x > 1) | (x == -1), jnp.clip(x, 0, 0.5), jnp.sign(x) * jnp.floor(x)),
    "powers": lambda x: jax.lax.rsqrt(x**2 + 1) + x**3 + jnp.expm1(-jnp.abs(x)) + jnp.log1p(jnp.abs(x)),
    "any": lambda x: jnp.any(x > 1, axis=2) & jnp.all(x > -2, axis=2),
    "halves": lambda x: jnp.concatenate(jnp.split(x, 2, axis=2)[::-1], axis=2),
    "copies": lambda x: jnp.tile(x, (1, 2, 1)) + jnp.repeat(x, 2, axis=1),
    "places": lambda x: x * jnp.arange(x.shape[1])[:, None] / x.shape[0],
    "causal": lambda x: jnp.where(jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool)), x @ x.mT, -jnp.inf).max(-1),
    "a loop of known turns": lambda x: jax.lax.scan(lambda c, w: (c * w + x, w), x, jnp.array([1.0, 2.0, 3.0]))[0],
    "windows": lambda x: jax.lax.reduce_window(x[..., None], -jnp.inf, jax.lax.max, (1, 3, 2, 1), (1, 1, 2, 1), "SAME"),
    "means of windows": lambda x: jax.lax.reduce_window(x[..., None], 0.0, jax.lax.add, *[(1, 2, 2, 1)] * 2, "SAME"),
    "convolution": lambda x: jax.lax.conv_general_dilated(
        x[..., None], jnp.arange(18.0).reshape(3, 3, 1, 2), (2, 1), ((1, 1), (0, 2)), rhs_dilation=(1, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
}  # fmt: skip
TEXTS = {
    "a loop over a text": lambda x: jax.lax.scan(lambda c, r: (jnp.tanh(c + r), c * r), x[:, 0], x.swapaxes(0, 1))[1],
    "a loop from its end": lambda x: jax.lax.scan(lambda c, r: (c + r, c), x[:, 0], x.swapaxes(0, 1), reverse=True)[1],
    "flat": lambda x: x.reshape(-1, x.shape[-1]).sum(0),
    "pairs": lambda x: x[:, :, None] - x[:, None],
}


@needs_onnx
@pytest.mark.parametrize("name", [*FUNCTIONS, *TEXTS])
def test_operations_are_jaxs(name):
    """For other sizes of a batch than one, and of a text."""
    shape = "b, n, 6" if name in TEXTS or name == "places" else "b, 4, 6"
    f = {**FUNCTIONS, **TEXTS}[name]
    spec = jax.export.symbolic_args_specs(jax.ShapeDtypeStruct((1, 4, 6), jnp.float32), shape)
    made = session(onnx_file.model_of(lambda _, x: f(x), {}, spec))
    for sizes in ((2, 4, 6), (3, 4, 6), *([(2, 7, 6)] if "n" in shape else ())):
        x = np.random.default_rng(0).normal(0, 2, sizes).astype(np.float32)
        (found,) = made.run(None, {"inputs": x})
        expected = np.asarray(f(jnp.asarray(x)))
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@needs_onnx
@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: jnp.sort(x), "computes 'sort', which is not written yet; export it to stablehlo"),
        (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x), "computes 'while'"),
        (lambda x: (x, x), "gives several arrays"),
    ],
)
def test_what_is_not_written_yet_is_refused(f, says):
    with pytest.raises(InputError, match=says):
        onnx_file.model_of(lambda _, x: f(x), {}, jax.ShapeDtypeStruct((2, 3), jnp.float32))


@needs_onnx
@pytest.mark.parametrize("case", ["bert_classify", "roberta_tag", "distilbert_masked_lm"])
def test_encoders_give_the_logits_of_transformers(case, tmp_path):
    (tmp_path / "source").mkdir()
    source = encoders.write(case, tmp_path / "source")
    model = weights.describe(source).model
    export.export(source, tmp_path / "new", "onnx")
    made, stored = of_file(tmp_path / "new"), encoders.load(case)[1]
    for n in encoders.LENGTHS:
        given = encoders.inputs(n, model.pad, "token_type_ids" in [x.name for x in made.get_inputs()])
        names = [x.name for x in made.get_inputs()]
        (found,) = made.run(None, {name: np.asarray(given[name], np.int32) for name in names})
        np.testing.assert_allclose(found, stored[f"output {n}"], rtol=0, atol=1e-4)


@needs_onnx
@pytest.mark.parametrize("case", ["swin_transformers_32", "resnet18_timm"])
def test_images_are_taken_as_pixels(case, tmp_path, capsys):
    source = store(case, tmp_path / "source")
    export.export(source, tmp_path / "new", "onnx")
    assert "onnxruntime gives the model's logits to" in capsys.readouterr().out
    model, variables, _ = weights.restore(source)
    images = np.random.default_rng(0).integers(0, 256, (3, *model.sides, 3), np.uint8)
    prepared = (images / 255 - np.asarray(PIXELS.mean)) / np.asarray(PIXELS.std)
    expected = jax.jit(model.apply)(variables, prepared.astype(np.float32))
    made = of_file(tmp_path / "new")
    (found,) = made.run(None, {"inputs": images})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    told = made.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == [f"kind {i}" for i in range(references.CLASSES)]
    assert json.loads(told["inputs"]) == {"inputs": ["uint8", ["b", *map(str, model.sides), "3"]]}
    assert json.loads(told["preprocessing"])["mean"] == [0.5, 0.4, 0.3]


@pytest.mark.skipif(not importlib.util.find_spec("litert_converter"), reason="the extra `tflite` is not installed")
@pytest.mark.parametrize("case", ["resnet18_timm", "bert_classify"])
def test_litert_gives_the_models_logits(case, tmp_path, capsys):
    from ai_edge_litert.interpreter import Interpreter

    (tmp_path / "source").mkdir()
    texts = case in encoders.cases()
    source = encoders.write(case, tmp_path / "source") if texts else store(case, tmp_path / "more")
    export.export(source, tmp_path / "new", "tflite")
    assert "LiteRT gives the model's logits to" in capsys.readouterr().out
    run = Interpreter(str(tmp_path / "new" / "model.tflite")).get_signature_runner()
    shapes = {name: tuple(x["shape"]) for name, x in run.get_input_details().items()}
    if not texts:
        assert shapes["inputs"][0] == 1
        return
    ids = encoders.inputs(7, 0, segments=True)
    for i, wanted in enumerate(encoders.load(case)[1]["output 7"]):
        given = {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}
        for name in given:
            given[name][0, :7] = ids[name][i]
        np.testing.assert_allclose(run(**given)["logits"][0], wanted, rtol=0, atol=1e-4)


@needs_onnx
def test_a_file_with_other_logits_is_not_kept(tmp_path, monkeypatch):
    source = store("resnet18_timm", tmp_path / "source")
    monkeypatch.setattr(onnx_file, "_CLOSE", -1.0)
    with pytest.raises(InputError, match="onnxruntime gives other logits than the model, by"):
        export.export(source, tmp_path / "new", "onnx")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("tflite", "litert_converter")])
def test_without_the_extra_one_line_says_what_to_install(format, package, tmp_path, monkeypatch, capsys):
    source = store("resnet18_timm", tmp_path / "source")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stopped:
        run_command(command.main, ["export", str(source), str(tmp_path / "new"), f"--format={format}"])
    assert stopped.value.code == 2
    assert f"pip install 'jtransfer[{format}]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
