"""Adapters into the parameters, for libraries that know of none, and what that changes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import data, peft
from jtransfer.core.errors import InputError, some
from jtransfer.modalities import faces
from jtransfer.models import forward
from jtransfer.peft.merging import tied_among
from jtransfer.proof import verify
from jtransfer.runs.open import StoredRun
from jtransfer.weights.shapes import abstract, example

COLLECTION = "adapters"
_BATCH = 8  # examples, at most
_SPLITS = ("test", "validation", "train")


class Merged(NamedTuple):
    """A model without adapters that computes what it did with them.

    Attributes:
      model: the model; its embeddings and head are no longer one where that was asked for.
      variables: of it.
      lines: what was done with the embeddings, for people.
    """

    model: Any
    variables: dict[str, Any]
    lines: tuple[str, ...] = ()


def merge(model: Any, variables: Mapping[str, Any], *, untie: bool = False, sample: Any = None) -> Merged:
    """Returns a model whose adapters are merged into its parameters, which is computed in float32.

    Args:
      model: the base.
      variables: {"params": …, "batch_stats": …, "adapters": …}.
      untie: whether embeddings that are also the head's kernel, and have an adapter, become two arrays. The adapter is
        of the embeddings alone, and the head stays as it was.
      sample: an input to trace the model with; by default `model.example_input(1)`.

    Raises:
      InputError: an adapter can't be merged; or it is one of tied embeddings, and these are not to be untied or can't.
    """
    rest = {name: tree for name, tree in variables.items() if name != COLLECTION}
    adapters = variables.get(COLLECTION)
    if not adapters:
        return Merged(model, rest)
    sites = peft.sites(model, abstract(model, sample), example(model) if sample is None else sample)
    lines: tuple[str, ...] = ()
    if untie and (tied := tied_among(adapters, sites)):
        model, rest = _untied(model, rest, tied)
        lines = (f"{some(tied)} and the head are two arrays now, as only the embeddings had an adapter",)
        sites = {}
    params = jax.tree.map(np.asarray, peft.merge(rest["params"], adapters, sites))
    return Merged(model, {**rest, "params": params}, lines)


def _untied(model: Any, variables: dict[str, Any], tied: list[str]) -> tuple[Any, dict[str, Any]]:
    fields = {field.name for field in dataclasses.fields(model)}
    if tied != ["embed/tokens"] or getattr(model, "tied", None) is not True or "tied" not in fields:
        raise InputError(
            f"{type(model).__name__} has no head of its own beside {some(tied)}; keep the adapter beside it"
        )
    params = variables["params"]
    kernel = np.asarray(params["embed"]["tokens"]["embedding"]).T
    head = {**params.get("head", {}), "dense": {"kernel": kernel}}
    return model.clone(tied=False), {**variables, "params": {**params, "head": head}}


def change(
    before: tuple[Any, Mapping[str, Any]], after: tuple[Any, Mapping[str, Any]], inputs: Any
) -> tuple[float, float, float]:
    """Returns the largest and the mean change of what a model gives, and the largest number that it gave before.

    Args:
      before, after: (model, variables).
      inputs: of the model, preprocessed.
    """
    was, now = (jax.device_get(forward.apply(model, variables, inputs)[0]) for model, variables in (before, after))
    pairs = list(zip(jax.tree.leaves(was), jax.tree.leaves(now), strict=True))
    gaps = np.concatenate([np.abs(np.asarray(b, np.float64) - np.asarray(a, np.float64)).ravel() for a, b in pairs])
    return float(gaps.max()), float(gaps.mean()), max(float(np.abs(a).max()) for a, _ in pairs)


def inputs(model: Any, run: StoredRun | None) -> tuple[Any, str]:
    """Returns a batch to compare models on, and what it is: examples of a run, or made-up numbers.

    Args:
      model: the model.
      run: whose data are taken, where they are there.
    """
    found = _examples(run) if run else None
    if found is None:
        return verify.example(model), "made-up inputs"
    assert run is not None
    preprocess = faces.make_preprocess(run.modality, run.model, train=False)
    return preprocess(jax.tree.map(jnp.asarray, found[0])), found[1]


def raw_inputs(model: Any, run: StoredRun | None) -> tuple[Any, str]:
    """The same of inputs that are not preprocessed: of images pixels, uint8.

    Args:
      model, run: as for `inputs`.
    """
    found = _examples(run) if run else None
    if found is not None:
        return found
    draw = np.random.default_rng(0)

    def pixels(x: Any) -> Any:
        return draw.integers(0, 256, x.shape, np.uint8) if np.ndim(x) == 4 else x

    return jax.tree.map(pixels, verify.example(model)), "made-up inputs"


def _examples(run: StoredRun) -> tuple[Any, str] | None:
    """A batch of a run's examples, and what it is; None where the data set is gone."""
    for split in _SPLITS:
        if run.config.data[split]:
            try:
                return _batch(run, split)
            except InputError:
                continue
    return None


def _batch(run: StoredRun, split: str) -> tuple[Any, str]:
    source = run.modality.pack(run.source(split), run.task)
    count = min(_BATCH, len(source))
    transform = faces.make_transform(run.modality, run.task, run.model, train=False)
    batch = next(iter(data.eval_batches(source, transform, count, threads=1)))
    return batch["inputs"], f"{count} examples of {run.config.data[split]!r}"
