"""A model as a file of TFLite, for one example at a time, which is compared with the model before it is kept.

It is LiteRT's own compiler, from StableHLO and without TensorFlow.
"""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.exporting import merging, onnx_file, program

FILE, OUTPUT, SIGNATURE = "model.tflite", "logits", "serving_default"
LENGTH = 128  # tokens of a text, where no run says it
_PACKAGES = "litert_converter", "ai_edge_litert"


def write(trained: Any, dest: Path) -> None:
    """Writes `model.tflite`, whose signature "serving_default" takes what the model takes, one example, and gives
    "logits". Texts are as long as those of the run, filled up with padding.

    Args:
      trained: an `export.Trained`.
      dest: a folder.

    Raises:
      InputError: the converter is missing, it does not take the model, or the file gives other logits.
    """
    try:
        for name in _PACKAGES:
            importlib.import_module(name)
    except ImportError:
        raise InputError(
            "--format=tflite needs LiteRT's converter and interpreter: pip install 'jtransfer[tflite]'; or export to "
            "onnx or stablehlo"
        ) from None
    trained = onnx_file.in_float32(trained)
    flat = jax.tree.map(jnp.asarray, trees.flatten(trained.variables))
    run = partial(program.logits, trained, "tflite", flat)
    shapes = jax.tree.map(partial(_one, length=_length(trained)), program.inputs(trained))
    text = str(jax.export.export(jax.jit(run), platforms=("cpu",))(shapes).mlir_module())
    try:
        made = _converted(text, sorted(onnx_file.named(shapes)))
    except Exception as error:  # of many types, by what the converter does not take
        reason = " ".join(str(error).split())
        raise InputError(f"LiteRT's converter does not take the model: {reason:.300}; export to onnx") from None
    (dest / FILE).write_bytes(made)
    _compare(trained, made, shapes)


def _length(trained: Any) -> int:
    length = trained.run.config.data.length if trained.run else LENGTH
    return min(length, getattr(trained.spec.model, "max_length", length))


def _one(x: jax.ShapeDtypeStruct, length: int) -> jax.ShapeDtypeStruct:
    """One example: a batch of one, and a text of `length`."""
    sizes = {"b": 1, "n": length, "m": length}
    dims = [dim if isinstance(dim, int) else sizes.get(str(dim)) for dim in x.shape]
    if None in dims:
        raise InputError("a file of TFLite takes one example, and this model takes several together; export to onnx")
    return jax.ShapeDtypeStruct(dims, x.dtype)


def _converted(text: str, names: list[str]) -> bytes:
    ir, passes = (importlib.import_module(f"litert_converter.mlir.{name}") for name in ("ir", "passmanager"))
    api = importlib.import_module("litert_converter.mlir._mlir_libs.converter_api_ext")
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context, ir.Location.unknown():
        module = ir.Module.parse(text)
        api.set_signature(module.operation, SIGNATURE, names, [OUTPUT])
        module = api.merge_modules([module])
        api.run_convert_to_tfl_passes(module, passes.PassManager(), api.ConvertToTFLConfig())
        return api.export_flatbuffer_to_bytes(module.operation)


def _compare(trained: Any, made: bytes, shapes: Any) -> None:
    inputs, what = merging.raw_inputs(trained.spec.model, trained.run)
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_content=made)
    run = interpreter.get_signature_runner(SIGNATURE)
    asked = onnx_file.named(shapes)
    given = {name: _filled(np.asarray(x), asked[name]) for name, x in onnx_file.named(inputs).items() if name in asked}
    flat = trees.flatten(trained.variables)
    whole = given if isinstance(shapes, dict) else given["inputs"]
    ours = np.asarray(jax.jit(partial(program.logits, trained, "cpu"))(flat, whole))
    theirs = [run(**{name: x[i : i + 1] for name, x in given.items()})[OUTPUT] for i in range(len(ours))]
    onnx_file.check(np.concatenate(theirs), ours, "LiteRT", what)
    sizes = ", ".join(f"{name} {x.dtype}{list(x.shape)}" for name, x in asked.items())
    say(f"it takes one example: {sizes}")


def _filled(x: np.ndarray, shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """Examples with texts of the length that the file takes."""
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.integer):
        return x
    length = shape.shape[1]
    return np.pad(x[:, :length], ((0, 0), (0, max(length - x.shape[1], 0)))).astype(shape.dtype)
