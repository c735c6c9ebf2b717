"""Kernels that a run holds in fewer bits, as `config.quantize` asks: those that no phase trains."""

from collections.abc import Callable
from typing import Any

import jax

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.training import state as states

Run = Any  # build.Run


def of(run: Run, variables: dict) -> dict:
    """Returns the variables with these kernels in the collection "quantized". Pure.

    Raises:
      InputError: as of `peft.quantizable`.
    """
    if not run.config.quantize:
        return variables
    sites = peft.sites(run.model, variables, run.sample)
    trained = {path for path, moves in trees.flatten(run.phases[0].trained_later["params"]).items() if moves}
    formats = peft.quantizable(run.config.quantize, sites, trained)
    params, stored = peft.quantize(variables["params"], formats, sites)
    kept = {states.INITIAL: trees.select(variables[states.INITIAL], params)} if states.INITIAL in variables else {}
    return {**variables, "params": params, **stored, **kept}


def check(run: Run, abstract: Callable[[], states.TrainState]) -> None:
    """Prints what the first state's kernels take, if any are to be held in fewer bits.

    Raises:
      InputError: none can be; or as of `of`.
    """
    if not run.config.quantize:
        return
    stored = abstract().frozen.get("quantized", {})
    kernels = jax.eval_shape(peft.dequantize, {"quantized": stored}).get("params", {})
    if not kernels:
        raise InputError(f"quantize={run.config.quantize!r}: no kernel stays frozen through all phases; leave it empty")
    if jax.process_index() == 0:
        count, before, after = len(jax.tree.leaves(kernels)), trees.nbytes(kernels), trees.nbytes(stored)
        say(f"quantised: {count} frozen kernels of {trees.count(kernels):,} parameters, {before:,} → {after:,} bytes")
