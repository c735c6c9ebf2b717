"""The forward pass of a training step over the batches of several streams."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.models import forward
from jtransfer.training import stream_norms

HEADS = "heads"  # in the collection "aux": stream → parameters of a head of its own
Preprocess = Callable[[Any], Any]


def unchanged(x: Any) -> Any:
    """The input as it is."""
    return x


class Head(NamedTuple):
    """A stream's own head: its name in `variables["aux"]["heads"]`, and a model that has such a head."""

    name: str
    model: nn.Module

    def initialize(self, key: jax.Array, x: Any) -> dict:
        """The parameters that the head begins with. Pure.

        Args:
          key: a random key.
          x: what the stage before the head returns.
        """
        variables = dict(self.model.init({"params": key, "dropout": key}, x, start=forward.OUTPUT))
        return variables.get("params", {}).get(forward.OUTPUT, {})

    def apply(self, variables: Mapping[str, Any], x: Any, **how: Any) -> Any:
        """The head's output for what the stage before it returned; `how` as in `forward.apply`."""
        own = {"params": {forward.OUTPUT: variables["aux"][HEADS][self.name]}}
        return forward.apply(self.model, own, x, start=forward.OUTPUT, **how)[0]


class StreamStep(NamedTuple):
    """How a step reads the batches of one stream.

    Attributes:
      preprocess: the batch's `inputs` → the model's input, on the device.
      mix: `(key, x, labels) -> (x, soft labels)`: mixup or CutMix; None mixes nothing.
      start: the stage that the batch's `inputs` is the input of, if it holds features.
      head: the stream's own head; None for the model's.
      norms: the stream's name, where it has batch norms of its own; None for the model's.
    """

    preprocess: Preprocess = unchanged
    mix: Callable[..., tuple[Any, Any]] | None = None
    start: str | None = None
    head: Head | None = None
    norms: str | None = None


def mixed(
    batches: Mapping[str, Mapping[str, Any]], streams: Mapping[str, StreamStep], key: jax.Array
) -> dict[str, Mapping[str, Any]]:
    """The batches, with `inputs` preprocessed and mixed and with `target`, the soft labels, of streams that mix."""
    found = dict(batches)
    for i, (name, batch) in enumerate(batches.items()):
        mix, preprocess = streams[name].mix, streams[name].preprocess
        if mix is not None:
            drawn = key if i == 0 else jax.random.fold_in(key, i)
            x, target = mix(drawn, preprocess(batch["inputs"]), batch["label"])
            found[name] = {**batch, "inputs": x, "target": target}
    return found


def prepare(
    batches: Mapping[str, Mapping[str, Any]], streams: Mapping[str, StreamStep]
) -> dict[str, Mapping[str, Any]]:
    """The batches with `inputs` preprocessed and with `target`, the labels that the loss is taken of; those that are
    mixed are so already."""
    found = {}
    for name, batch in batches.items():
        preprocess = streams[name].preprocess
        mixed = "target" in batch
        more = {} if mixed else {"inputs": preprocess(batch["inputs"]), "target": batch["label"]}
        found[name] = {**batch, **more, **({"strong": preprocess(batch["strong"])} if "strong" in batch else {})}
    return found


def apply(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any],
    streams: Mapping[str, StreamStep],
    features: Sequence[str],
    *,
    is_frozen: Callable[[tuple[str, ...]], bool],
    key: jax.Array,
    mutable: Sequence[str],
) -> tuple[dict[str, dict[str, Any]], dict]:
    """The model on the inputs of all streams.

    Streams whose inputs have the same shapes share one pass, in which batch norm sees all of them; others, and those
    with batch norms of their own, have a pass each, one after the other. The trunk runs once, also for streams with a
    head of their own.

    Args:
      model: the Linen module.
      variables: its collections, and "aux" with the streams' own heads.
      inputs: stream → the model's input.
      streams: how each is read.
      features: stages whose outputs are wanted, too.
      is_frozen, mutable: as in `forward.apply`.
      key: of dropout.

    Returns:
      (stream → {stage: output}, the changed collections).
    """
    outputs: dict[str, dict[str, Any]] = {}
    changed: dict[str, Any] = {}
    for i, group in enumerate(_groups(inputs, streams)):
        how = {
            "train": True,
            "is_frozen": is_frozen,
            "rngs": {"dropout": key if i == 0 else jax.random.fold_in(key, i)},
        }
        given, norms, current = (
            {name: inputs[name] for name in group},
            streams[group[0]].norms,
            {**variables, **changed},
        )
        theirs = stream_norms.entered(current, norms)
        found, new = _together(model, theirs, given, streams, features, how, mutable)
        outputs |= found
        changed |= new if norms is None else stream_norms.left(current, new, norms)
    return {name: outputs[name] for name in inputs}, changed


def _groups(inputs: Mapping[str, Any], streams: Mapping[str, StreamStep]) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for name, x in inputs.items():
        leaves, structure = jax.tree.flatten(x)
        kind = (
            structure,
            streams[name].start,
            streams[name].norms,
            tuple((leaf.shape[1:], leaf.dtype) for leaf in leaves),
        )
        groups.setdefault(kind, []).append(name)
    return list(groups.values())


def _together(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any],
    streams: Mapping[str, StreamStep],
    features: Sequence[str],
    how: Mapping[str, Any],
    mutable: Sequence[str],
) -> tuple[dict[str, dict[str, Any]], dict]:
    x = _joined(list(inputs.values()))
    start = streams[next(iter(inputs))].start
    if all(streams[name].head is None for name in inputs):
        wanted = tuple(dict.fromkeys((*features, forward.OUTPUT)))
        found, changed = forward.apply(model, variables, x, start=start, outputs=wanted, mutable=mutable, **how)
        return _parts(found, inputs), changed
    trunk = forward.stages(model)[-2]
    if start == forward.OUTPUT:
        found, changed = {trunk: x}, {}
    else:
        wanted = tuple(dict.fromkeys((*(name for name in features if name != forward.OUTPUT), trunk)))
        found, changed = forward.apply(
            model, variables, x, start=start, stop=forward.OUTPUT, outputs=wanted, mutable=mutable, **how
        )
    parts = _parts(found, inputs)
    for name, part in parts.items():
        head = streams[name].head
        if head is not None:
            part[forward.OUTPUT] = head.apply(variables, part[trunk], **how)
        else:
            part[forward.OUTPUT], _ = forward.apply(model, variables, part[trunk], start=forward.OUTPUT, **how)
    return parts, changed


def _joined(inputs: list[Any]) -> Any:
    return inputs[0] if len(inputs) == 1 else jax.tree.map(lambda *parts: jnp.concatenate(parts), *inputs)


def _parts(found: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each stream's rows of what was computed for all of them together."""
    if len(inputs) == 1:
        return {name: dict(found) for name in inputs}
    parts, first = {}, 0
    for name, x in inputs.items():
        last = first + len(jax.tree.leaves(x)[0])
        parts[name] = jax.tree.map(lambda leaf, rows=slice(first, last): leaf[rows], dict(found))
        first = last
    return parts
