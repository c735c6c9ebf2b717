"""A model as a program that needs no library of models: what goes into it, and StableHLO."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.layers.cpu import dispatch
from jtransfer.models import forward
from jtransfer.weights.save import WRITERS

PLATFORMS = ("cpu", "cuda", "tpu")  # of a StableHLO program


def stablehlo(trained: Any, dest: Path) -> None:
    """Writes a program for any batch size and any length of texts on any of `PLATFORMS`, which does the preprocessing
    itself: it takes pixels as they are, and vectors of a run as they are in the data.

    It holds the computation twice, with the layers' routes for the CPU and without.

    Args:
      trained: an `export.Trained`.
      dest: a folder.
    """

    def run(flat: Mapping[str, Any], inputs: Any) -> jnp.ndarray:
        branches = {name: partial(logits, trained, platform) for name, platform in (("cpu", "cpu"), ("default", "any"))}
        return jax.lax.platform_dependent(flat, inputs, **branches)

    flat = trees.flatten(trained.variables)
    shapes = {path: jax.ShapeDtypeStruct(x.shape, x.dtype) for path, x in flat.items()}
    program = jax.export.export(jax.jit(run), platforms=PLATFORMS)(shapes, inputs(trained))
    (dest / "model.stablehlo").write_bytes(program.serialize())
    WRITERS["npz"](flat, dest / "weights.npz")


def logits(trained: Any, platform: str, flat: Mapping[str, Any], given: Any) -> jnp.ndarray:
    """Returns what the model gives for inputs that are not preprocessed, by the operations of a platform.

    Args:
      trained: an `export.Trained`.
      platform: as `dispatch.platform` takes it.
      flat: the variables by path.
      given: the inputs, as `inputs` describes them.
    """
    with dispatch.platform(platform):
        return forward.apply(trained.spec.model, trees.unflatten(dict(flat)), trained.preprocess(given))[0]


def inputs(trained: Any) -> Any:
    """Returns the shapes of a model's inputs, with b for the batch or k for texts that are classes, and n for the
    length of texts or m for that of a decoder's.

    Args:
      trained: an `export.Trained`.
    """
    model = trained.spec.model
    if trained.inputs is not None:
        args = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), trained.inputs)
        return jax.export.symbolic_args_specs(args, jax.tree.map(lambda x: "b, ...", args))
    one, two = (_leaves(jax.eval_shape(partial(model.example_input, k))) for k in (1, 2))
    args, axes = {}, {}
    for name, x in one.items():
        batch = "b" if x.shape != two[name].shape else "k"
        text = jnp.issubdtype(x.dtype, jnp.integer)
        args[name] = jax.ShapeDtypeStruct(x.shape, jnp.uint8 if x.ndim == 4 else x.dtype)
        rest = ["m" if name.startswith("decoder") else "n"] if text else map(str, x.shape[1:])
        axes[name] = ", ".join([batch, *rest])
    length = getattr(model, "max_length", None)
    symbols = {symbol for spec in axes.values() for symbol in spec.split(", ")} & {"n", "m"}
    limits = [f"{symbol} <= {length}" for symbol in sorted(symbols)] if length else ()
    found = jax.export.symbolic_args_specs(args, axes, constraints=limits)
    return found.get("", found)


def _leaves(given: Any) -> dict[str, Any]:
    """A model's inputs by name; that of one without names is "". Texts come with what masks their padding."""
    if not isinstance(given, dict):
        return {"": given}
    return {name.replace("input_ids", "attention_mask"): x for name, x in given.items()} | given
