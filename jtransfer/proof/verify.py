"""Proof that a converted checkpoint computes what its reference computes.

The reference is `activations.npz` beside the source, or else torch and the library that the names are of, run live. The
file holds the inputs, `images` float32 [B, H, W, C] or texts by the names of the model's inputs, and any of `logits`,
`features` (what the head takes) and stage names (what the stage returns), channels last.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.core.text_table import lay_out
from jtransfer.models import forward
from jtransfer.proof import reference
from jtransfer.weights import formats

FILE = "activations.npz"
TOLERANCE = 1e-4  # of what a stage gives, absolute or relative to the largest number
SMALL = 1e-2  # of numbers below TOLERANCE / SMALL, an absolute difference says nothing
LENGTH = 48  # most tokens of a text that is made up
_ENDS = ("features", "logits")
_IDS, _MASK = "input_ids", "attention_mask"


class Difference(NamedTuple):
    """How far a stage is from its reference.

    Attributes:
      stage: its name, or "features" or "logits".
      absolute: the largest absolute difference.
      relative: that, divided by the largest absolute number of the reference.
    """

    stage: str
    absolute: float
    relative: float

    @property
    def within(self) -> bool:
        """Whether the difference is small enough. It is not if either array has a NaN."""
        return bool(self.relative <= TOLERANCE or (self.absolute <= TOLERANCE and self.relative <= SMALL))


def check(source: weights.Source, dest: str | os.PathLike, spec: weights.ModelSpec, report: weights.Report) -> bool:
    """Compares a converted checkpoint with the reference of its source, and prints a table.

    Args:
      source: what was converted: an address or an open checkpoint.
      dest: the folder of the converted checkpoint.
      spec, report: what the conversion returned.

    Returns:
      Whether they are the same within the tolerance.

    Raises:
      InputError: there is nothing to compare with, or it does not fit.
    """
    model, variables, _ = weights.restore(dest, model=spec.name)
    checkpoint = weights.open(source)
    if stored := checkpoint.file(FILE):
        inputs, expected = _stored(stored, model)
        origin = FILE
    else:
        inputs = example(model)
        expected, origin = reference.run(checkpoint, spec, report, inputs)
    loaded = _loaded(model, report)
    given = {name: arrays for name, arrays in expected.items() if name in loaded}
    differences = list(compare(activations(model, variables, inputs), given, _seen(inputs)))
    if not differences:
        raise InputError(f"{origin} has none of {', '.join(loaded)}")
    say(f"compared with {origin} on {_shapes(inputs)}:")
    rows = [(x.stage, f"absolute {x.absolute:.1e}", f"relative {x.relative:.1e}") for x in differences]
    say("\n".join(lay_out(rows)))
    if "logits" not in loaded:
        say("what was drawn anew is not compared, nor what comes after it")
    departing = [found.stage for found in differences if not found.within]
    if departing:
        say(f"departs first at {departing[0]}")
    say(f"{'NOT within' if departing else 'within'} {TOLERANCE:.0e}")
    return not departing


def _loaded(model: Any, report: weights.Report) -> tuple[str, ...]:
    """What there is to compare: what the model gives before its first stage with parameters that were drawn anew."""
    drawn = {path.split("/")[0] for path, _ in report.reinitialised}
    places = {stage: i for i, stage in enumerate(model.stages)}
    first = min((places[stage] for stage in drawn if stage in places), default=len(places))
    ends = dict(zip(_ENDS, (len(places) - 2, len(places) - 1), strict=True))
    return tuple(name for name, i in (ends | places).items() if i < first)


def example(model: Any) -> Any:
    """Returns random inputs of a model: two images or vectors of standard normal numbers, or two texts, or both.

    The tokens of a text are any of the model's but for its `pad` and `end`; `end` is the last one, after which the
    second text is filled up with `pad`. Where there is no `pad`, there is one text alone.
    """
    random, shapes = np.random.default_rng(0), model.example_input(2)
    found: dict[str, np.ndarray] = {}
    shapes = shapes if isinstance(shapes, dict) else {"": shapes}
    for name, x in shapes.items():
        if name.endswith(_IDS):
            found[name], found[name.replace(_IDS, _MASK)] = _texts(model, random)
        elif np.issubdtype(x.dtype, np.floating):
            found[name] = random.standard_normal(x.shape, np.float32)
    if "token_type_ids" in shapes:
        places = np.arange(found[_IDS].shape[1])
        found["token_type_ids"] = np.broadcast_to(places >= len(places) // 4, found[_IDS].shape).astype(np.int32)
    return found.get("", found)


def _texts(model: Any, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, int32 [2, n] or [1, n]."""
    pad, end = getattr(model, "pad", 0), getattr(model, "end", None)
    length = min(LENGTH, getattr(model, "max_length", LENGTH))
    usual = np.setdiff1d(np.arange(model.vocab_size), [token for token in (pad, end) if token is not None])
    last = np.array([length] if pad is None else [length, length // 2 + 1])[:, None]
    ids, places = random.choice(usual, (len(last), length)), np.arange(length)
    if end is not None and end < model.vocab_size:
        ids = np.where(places == last - 1, end, ids)
    mask = places < last
    return np.where(mask, ids, pad or 0).astype(np.int32), mask.astype(np.int32)


def activations(model: Any, variables: Mapping[str, Any], inputs: Any) -> dict[str, np.ndarray]:
    """Returns what each stage of a model gives for some inputs, by its name, and also `features` and `logits`.

    If a stage returns a dict, its entry "x" is taken, or else the entry with the stage's name.
    """

    @jax.jit
    def run(variables, x):
        found, _ = forward.apply(model, variables, x, outputs=model.stages)
        features, logits = [x, *found.values()][-2:]
        found |= {"features": features, "logits": logits}
        return {name: x.get("x", x.get(name)) if isinstance(x, dict) else x for name, x in found.items()}

    arrays = jax.device_get(run(variables, inputs))
    return {name: arrays[name] for name in (*model.stages[:-1], *_ENDS) if arrays[name] is not None}


def compare(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, Sequence[np.ndarray]], seen: Sequence[np.ndarray] = ()
) -> Iterator[Difference]:
    """Yields the differences of all stages that both have, in the order of the model.

    Axes of length 1 aside, shapes must agree, but the places of a feature map may come in a row.

    Args:
      actual: what each stage returns here, by the stage's name.
      expected: arrays of the reference that may be what the stage returns; the nearest of them counts.
      seen: masks of texts, bool [B, n]. Of arrays [B, n, …], only the tokens that a mask of their shape has are
        compared.

    Raises:
      InputError: logits of another shape.
    """
    for stage in (name for name in actual if name in expected):
        found = [_difference(stage, a, b) for a, b in _alike(actual[stage], expected[stage], seen)]
        if found:
            yield min(found, key=lambda found: found.absolute if found.absolute == found.absolute else np.inf)
        elif stage == "logits":
            shapes = [list(x.shape) for x in (expected[stage][0], actual[stage])]
            raise InputError(f"{stage} has the shape {shapes[0]} in the reference, {shapes[1]} here")


def _difference(stage: str, actual: np.ndarray, expected: np.ndarray) -> Difference:
    largest = np.abs(actual.astype(np.float64) - expected).max()
    return Difference(stage, float(largest), float(largest / max(np.abs(expected).max(), 1e-30)))


def _alike(
    actual: np.ndarray, expected: Sequence[np.ndarray], seen: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Our array and each of expected that is of its shape, as far as they are compared."""
    masks = [mask for mask in seen if actual.ndim > 2 and mask.shape == actual.shape[:2]]
    for other in expected:
        if actual.ndim == 4 and other.shape == (len(actual), actual.shape[1] * actual.shape[2], actual.shape[3]):
            other = other.reshape(actual.shape)
        if np.squeeze(other).shape == np.squeeze(actual).shape:
            other = other.reshape(actual.shape)
            where = np.logical_and.reduce(masks) if masks else ...
            yield actual[where], other[where]


def _seen(inputs: Any) -> list[np.ndarray]:
    named = inputs if isinstance(inputs, dict) else {}
    return [np.asarray(x, bool) for name, x in named.items() if name.endswith(_MASK)]


def _shapes(inputs: Any) -> str:
    named = inputs if isinstance(inputs, dict) else {_plural(inputs): inputs}
    names = {"image": "images"}
    shown = [f"{names.get(name, name)} {list(x.shape)}" for name, x in named.items() if not name.endswith(_MASK)]
    return ", ".join(shown)


def _plural(x: Any) -> str:
    return "images" if x.ndim == 4 else "vectors"


def _stored(path: os.PathLike, model: Any) -> tuple[Any, dict[str, list[np.ndarray]]]:
    """The inputs, and what is expected of the stages."""
    tensors = {name: np.asarray(tensor.read()) for name, tensor in formats.open(path).items()}
    expected = {name: [tensors.pop(name)] for name in (*model.stages, *_ENDS) if name in tensors}
    wanted = model.example_input(1)
    if not isinstance(wanted, dict):
        if (name := _plural(wanted)) not in tensors:
            raise InputError(f"{path} has no {name}")
        return tensors[name], expected
    inputs = {{"images": "image"}.get(name, name): x for name, x in tensors.items()}
    absent = sorted(name for name in wanted if name not in inputs and not name.endswith(_MASK))
    if absent:
        raise InputError(f"{path} has no {absent[0].replace('image', 'images')}")
    return inputs, expected
