"""Batch norms of a stream's own: statistics, and perhaps scales and biases, in place of the model's.

A pass of the model for one stream is given other variables, so that this works in any model with batch norms. The
target has the model's own, which evaluation, prediction and export use.
"""

from collections.abc import Mapping
from typing import Any

from jtransfer.core import tree as trees

NORMS = "norms"  # in the collection "aux": stream → scales and biases of batch norms of its own
STATISTICS = "stream_stats"  # the collection of statistics of streams: stream → as "batch_stats"
MODEL = "batch_stats"


def affine(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the modules that have statistics, such as scales and biases.

    Args:
      variables: The collections of a model's variables.
    """
    modules = {path.rpartition("/")[0] for path in trees.flatten(variables.get(MODEL, {}))}
    own = trees.flatten(variables.get("params", {}))
    return trees.unflatten({path: leaf for path, leaf in own.items() if path.rpartition("/")[0] in modules})


def entered(variables: Mapping[str, Any], stream: str | None) -> dict[str, Any]:
    """Returns the variables with which the model is run for a stream.

    Args:
      variables: The collections of variables, those of streams among them.
      stream: The stream; one without batch norms of its own, or None, has the model's.
    """
    statistics = variables.get(STATISTICS, {})
    if stream not in statistics:
        return dict(variables)
    params, scales = variables.get("params", {}), variables.get("aux", {}).get(NORMS, {}).get(stream, {})
    replaced = {**trees.flatten(params), **trees.flatten(scales)}
    return {**variables, MODEL: statistics[stream], "params": trees.unflatten(replaced)}


def left(variables: Mapping[str, Any], changed: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """Returns the collections that a pass for a stream with batch norms of its own has changed.

    Args:
      variables: The variables before the pass.
      changed: The collections that the model returned.
      stream: The stream.
    """
    rest = {name: tree for name, tree in changed.items() if name not in (MODEL, STATISTICS)}
    if MODEL not in changed:
        return rest
    moved = trees.unflatten({**trees.flatten(variables[STATISTICS][stream]), **trees.flatten(changed[MODEL])})
    return {**rest, STATISTICS: {**variables[STATISTICS], stream: moved}}
