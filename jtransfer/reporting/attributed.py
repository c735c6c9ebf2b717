"""What the predictions that a report shows rest on, drawn over the examples as the model sees them."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from jtransfer import attribution
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.data import Source
from jtransfer.modalities import faces
from jtransfer.reporting.pictures import data_uri
from jtransfer.runs.open import StoredRun

LARGEST = 10**9  # parameters
BARS = 8  # numbers of a vector, those with the most influence
_AT_ONCE = 8  # examples
_SIDE = 112  # pixels of the longer side, at least
_HEAT = np.array([255.0, 110.0, 0.0])
_LONGEST = 2000  # characters of a line

Drawn = dict[str, Any]


def describe(run: StoredRun, source: Source | None, shown: Mapping[int, int]) -> dict[str, Any]:
    """Returns "attribution": what was computed, "how" and "at", or "why" nothing was; and "drawn", example → what it is
    drawn as: "heat", a picture; "tokens", triples of text, share and sign; or "bars", the same of numbers.

    Args:
      run: The run.
      source: The examples; None where they are gone.
      shown: Example → the output that is asked about, such as the predicted class.
    """
    nothing = {"how": "", "at": "", "why": "", "drawn": {}}
    if not shown or source is None:
        return {"attribution": nothing}
    try:
        return {"attribution": {**nothing, **_drawn(run, source, shown)}}
    except Exception as error:  # of weights that are gone, of a model that can't be run in parts, of memory
        line = one_line(str(error) or type(error).__name__, _LONGEST)
        if not isinstance(error, InputError):
            say(f"report: no attribution maps: {line}", sys.stderr)
        return {"attribution": {**nothing, "why": line}}


def _drawn(run: StoredRun, source: Source, shown: Mapping[int, int]) -> dict[str, Any]:
    if jax.process_count() > 1:
        raise InputError("several processes share the run; make the report again with one")
    if run.task.form != "single":
        raise InputError(f"they are of tasks with one input for each example, and not of {run.task.name!r}")
    if (size := _size(run)) > LARGEST:
        raise InputError(
            f"the model has {size:,} parameters, more than {LARGEST:,}; `jtransfer.attribution` draws them"
        )
    variables = run.variables()
    transform = faces.make_transform(run.modality, run.task, run.model, train=False)
    preprocess = faces.make_preprocess(run.modality, run.model, train=False)
    rows = [transform(source[index], np.random.default_rng(0)) for index in shown]

    @jax.jit
    def explain(variables: Any, inputs: Any, targets: jax.Array) -> attribution.Attribution:
        return attribution.explain(run.model, variables, preprocess(inputs), targets)

    found, asked = [], np.fromiter(shown.values(), np.int32)
    lengths = [transform.lengths(row) for row in rows] if hasattr(transform, "lengths") else None
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        inputs = _batch(transform, some, min(_AT_ONCE, len(rows)), lengths)
        targets = np.resize(asked[start : start + _AT_ONCE], min(_AT_ONCE, len(rows)))
        found.append(explain(variables, inputs, targets))
    values = np.concatenate([np.asarray(one.values) for one in found])
    drawn = {
        index: _draw(run.modality.parts(row["inputs"]), value)
        for index, row, value in zip(shown, rows, values, strict=False)
    }
    return {"how": found[0].how, "at": found[0].at, "drawn": {index: one for index, one in drawn.items() if one}}


def _size(run: StoredRun) -> int:
    """The number of parameters, as the log of the run has it, so that nothing is read of a model that is too large."""
    begun = next((line for line in reversed(run.lines) if line.get("event") == "phase_start"), {})
    return sum(begun.get(part) or 0 for part in ("trainable", "frozen"))


def _batch(transform: Any, rows: Sequence[Mapping[str, Any]], size: int, lengths: Any) -> Any:
    if hasattr(transform, "collate"):
        return transform.collate(rows, size, lengths)["inputs"]
    full = [*rows, *[rows[0]] * (size - len(rows))]
    return jax.tree.map(lambda *arrays: np.stack(arrays), *[row["inputs"] for row in full])


def _draw(parts: Mapping[str, Any], value: np.ndarray) -> Drawn:
    if "picture" in parts and value.ndim == 2:
        return {"heat": data_uri(overlaid(parts["picture"], value))}
    if "tokens" in parts and value.ndim == 1:
        return {"tokens": shaded(parts["tokens"], value)}
    if "names" in parts and value.ndim == 1:
        most = np.argsort(-np.abs(value), kind="stable")[:BARS]
        return {"bars": shaded([parts["names"][i] for i in most], value[most])}
    return {}


def shaded(texts: Sequence[str], values: np.ndarray) -> list[tuple[str, float, bool]]:
    """Returns (text, share of the greatest influence in [0, 1], whether it is for the output) of each part."""
    greatest = max(np.abs(values[: len(texts)]).max(initial=0.0).item(), np.finfo(np.float32).tiny)
    return [
        (text, round(abs(value) / greatest, 3), value >= 0) for text, value in zip(texts, values.tolist(), strict=False)
    ]


def overlaid(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Returns a picture with a map over it, uint8 [H, W, 3].

    Args:
      picture: uint8 [H, W, 1 or 3]. A small one is enlarged.
      heat: float [h, w], 0 or more; it is scaled to its greatest value, and enlarged bilinearly.
    """
    height, width = picture.shape[:2]
    times = max(1, -(-_SIDE // max(height, width)))
    large = np.repeat(np.repeat(picture, times, 0), times, 1).astype(np.float64)
    scaled = (heat / max(heat.max().item(), np.finfo(np.float32).tiny)).astype(np.float32)
    over = np.asarray(Image.fromarray(scaled).resize((width * times, height * times), Image.Resampling.BILINEAR))
    share = 0.65 * np.clip(over, 0, 1)[..., None]
    return np.rint(large * (1 - share) + _HEAT * share).astype(np.uint8)
