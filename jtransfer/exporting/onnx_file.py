"""A model as a file of ONNX, which does the preprocessing itself, and is compared with the model before it is kept."""

import importlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.exporting import merging, onnx_trace, program
from jtransfer.exporting.onnx_graph import Graph, Value, onnx

FILE, OUTPUT = "model.onnx", "logits"
_OPSET, _IR = 18, 10
_CLOSE = 1e-4  # of the largest logit, or of 1
_LARGE = 1 << 30  # bytes of weights that lie beside the file


def write(trained: Any, dest: Path) -> None:
    """Writes `model.onnx`, for any batch size and any length of texts, and compares it with the model.

    It takes what the model takes: images as uint8 [b, h, w, c], texts as `input_ids` and `attention_mask`, int32
    [b, n], vectors of a run as they are in its data. Its metadata have the names of the classes and of the model, and
    what was done with the inputs.

    Args:
      trained: an `export.Trained`.
      dest: a folder.

    Raises:
      InputError: onnx or onnxruntime is missing, the model computes what is not written yet, or onnxruntime gives other
        logits.
    """
    try:
        for name in ("onnx", "onnxruntime"):
            importlib.import_module(name)
    except ImportError:
        raise InputError("--format=onnx needs onnx and onnxruntime: pip install 'jtransfer[onnx]'") from None
    trained = in_float32(trained)
    made = _made(trained)
    for key, value in _metadata(trained).items():
        entry = made.metadata_props.add()
        entry.key, entry.value = key, value
    size = sum(x.nbytes for x in trees.flatten(trained.variables).values())
    onnx().save_model(made, dest / FILE, save_as_external_data=size > _LARGE, location=f"{FILE}.data")
    _compare(trained, dest / FILE)


def in_float32(trained: Any) -> Any:
    """Returns what is exported with a model that computes in float32."""
    model = trained.spec.model
    if getattr(model, "dtype", jnp.float32) == jnp.float32:
        return trained
    return trained._replace(spec=trained.spec._replace(model=model.clone(dtype=jnp.float32)))


def named(inputs: Any) -> dict[str, Any]:
    """Returns inputs by name; the only one of a model without names is called "inputs"."""
    return inputs if isinstance(inputs, dict) else {"inputs": inputs}


def _made(trained: Any) -> Any:
    given, flat = program.inputs(trained), trees.flatten(trained.variables)
    if not all(hasattr(x, "shape") for x in named(given).values()):
        raise InputError("ONNX: the model's inputs are dicts of dicts; export it to stablehlo")
    return model_of(partial(program.logits, trained, "onnx"), flat, given)


def model_of(f: Callable[[dict[str, Any], Any], Any], constants: Mapping[str, np.ndarray], given: Any) -> Any:
    """Returns a function as a model of ONNX, whose output is "logits".

    Args:
      f: of the constants and the inputs, to one array.
      constants: name → array, which the model holds.
      given: shapes of the inputs, with symbols; a dict, whose names they have then, or one, which is called "inputs".

    Raises:
      InputError: it computes what is not written yet, or several arrays.
    """
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in constants.items()}
    closed, out = jax.make_jaxpr(f, return_shape=True)(shapes, given)
    if len(jax.tree.leaves(out)) != 1:
        raise InputError("ONNX: the model gives several arrays; export it to stablehlo")
    arguments = named(given)
    graph = Graph(onnx_trace.symbols(arguments))
    weights = [graph.constant(np.asarray(constants[name]), name) for name in sorted(shapes)]
    inputs = [Value(name, arguments[name].shape, np.dtype(arguments[name].dtype)) for name in sorted(arguments)]
    (logits,) = onnx_trace.add(graph, closed.jaxpr, closed.consts, [*weights, *inputs])
    graph.nodes.append(onnx().helper.make_node("Identity", [logits.name], [OUTPUT]))
    used = _used(graph.nodes)
    held = [onnx().numpy_helper.from_array(x, name) for name, x in graph.constants.items() if name in used]
    outputs = [onnx_trace.described(logits, OUTPUT)]
    made = onnx().helper.make_graph(graph.nodes, "model", list(map(onnx_trace.described, inputs)), outputs, held)
    opsets = [onnx().helper.make_opsetid("", _OPSET)]
    return onnx().helper.make_model(made, opset_imports=opsets, ir_version=_IR, producer_name="jtransfer")


def _used(nodes: Any) -> set[str]:
    """The names that nodes take, those inside of loops too."""
    inside = (attribute.g.node for node in nodes for attribute in node.attribute if attribute.HasField("g"))
    return {name for node in nodes for name in node.input}.union(*map(_used, inside))


def _metadata(trained: Any) -> dict[str, str]:
    name, model, classes, *_ = trained.spec
    inputs = {key: [str(x.dtype), [str(dim) for dim in x.shape]] for key, x in named(program.inputs(trained)).items()}
    return {
        "model": str(name),
        "class_names": json.dumps(list(classes)),
        "inputs": json.dumps(inputs),
        "preprocessing": json.dumps(getattr(model, "preprocessing", {})),
        "preprocessing_inside": "pixels are scaled and normalised, vectors standardised; images come in their size, "
        "texts as tokens",
    }


def _compare(trained: Any, path: Path) -> None:
    """Compares the file with the model on real examples, where the run's data are there, and on the first of them."""
    inputs, what = merging.raw_inputs(trained.spec.model, trained.run)
    session = importlib.import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = [x.name for x in session.get_inputs()]
    flat = trees.flatten(trained.variables)
    ours = np.asarray(jax.jit(partial(program.logits, trained, "cpu"))(flat, inputs), np.float64)
    several = "k" not in onnx_trace.symbols(named(program.inputs(trained)))
    parts = [slice(None), slice(0, 1)] if several else [slice(None)]
    found = []
    for part in parts:
        given = {name: np.asarray(x)[part] for name, x in named(inputs).items() if name in wanted}
        found += session.run(None, given)
    check(np.concatenate(found), np.concatenate([ours[part] for part in parts]), "onnxruntime", what)


def check(theirs: np.ndarray, ours: np.ndarray, library: str, what: str) -> None:
    """Compares the logits of a file with those of the model, and prints how far they are.

    Args:
      theirs, ours: the logits of the file and of the model.
      library: that ran the file.
      what: the inputs were.

    Raises:
      InputError: they are not the same.
    """
    worst = float(np.abs(theirs.astype(np.float64) - ours).max())
    if not worst <= _CLOSE * max(float(np.abs(ours).max()), 1.0):
        raise InputError(
            f"{library} gives other logits than the model, by {worst:.1e} ({what}), and nothing is written; export to "
            "stablehlo"
        )
    say(f"{library} gives the model's logits to {worst:.1e} ({what})")
