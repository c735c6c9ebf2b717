"""What each source makes of the target's training examples: features, and predictions of its own classes."""

import json
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer.core import sharding, whole_file
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import Source, partition
from jtransfer.data.source import picked
from jtransfer.features import store
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.ranking.named import SCRATCH, Named
from jtransfer.runs import build, extraction, initialize, teacher_key
from jtransfer.runs import folder as folders
from jtransfer.runs import source as sources
from jtransfer.runs.batches import eval_batch_size
from jtransfer.runs.open import open as open_run
from jtransfer.runs.stream import Stream
from jtransfer.runs.teachers import cache_folder
from jtransfer.training.state import AUXILIARY

_VERSION = 1  # of what is kept
_BLOCK = 1024  # examples whose predictions are computed at once


class Made(NamedTuple):
    """What a source makes of the target's examples, and what it is.

    Attributes:
      features: float32 `[N, D]`.
      probs: What it predicts of its own classes, float64 `[N, Z]`; None where it tells none.
      why: Why there are none.
      class_names: The names of its classes; none where nothing says them.
      model: The name of its model.
      parameters, bytes: The number of its parameters, and the bytes that they take up.
      seconds: How long the features took when they were computed.
    """

    features: np.ndarray
    probs: np.ndarray | None
    why: str
    class_names: list[str]
    model: str
    parameters: int
    bytes: int
    seconds: float


class Opened(NamedTuple):
    """A source whose weights have not been read yet.

    Attributes:
      named: As the user names it.
      run: The run that would begin with it.
      target: Its examples of the target, those that are looked at, as they are prepared for it.
    """

    named: Named
    run: Any
    target: Stream

    @property
    def examples(self) -> Source:
        """The examples that are looked at."""
        return self.target.whole["train"]


def opened(named: Named, config: Any, most: int) -> Opened:
    """Opens a source for a target.

    Args:
      named: The source.
      config: Of a run that begins with it (`named.reading`).
      most: The number of training examples that are looked at, drawn by class; 0 is all.

    Raises:
      InputError: There is no such source, or it does not take such examples.
    """
    mesh = sharding.make_mesh(config.mesh.to_dict())
    run = build.opened(config, "ranking/.none", mesh)
    train = run.target.whole["train"]
    some = picked(train, _drawn(train, most, config.seed)) if 0 < most < len(train) else train
    target = run.target._replace(
        whole={"train": some}, sources={"train": run.target.modality.pack(some, run.target.task)}
    )
    return Opened(named, run, target)


def _drawn(source: Source, most: int, seed: int) -> np.ndarray:
    if source.label_kind != "class":
        return np.sort(np.argsort(partition.random(len(source), seed))[:most])
    return np.sort(np.argsort(partition.stratified(source.labels, seed))[:most])


def made(source: Opened) -> Made:
    """Returns what a source makes of the examples; the features are computed once and kept by their content.

    Raises:
      InputError: The weights don't fit, or the features are no finite vectors.
    """
    run, named = source.run, source.named
    variables, _ = initialize.variables(
        run.init,
        run.model,
        run.mesh,
        "replicate",
        sample=run.sample,
        ignore=run.config.ignore,
        class_names=run.target.class_names,
        parts=run.init_parts,
        seed=run.config.seed,
    )
    held = {name: tree for name, tree in jax.device_get(variables).items() if name not in AUXILIARY}
    features, seconds = _features(source, held)
    if (features == features[0]).all():
        raise InputError("its features of all examples are the same; its weights are damaged, or not of such inputs")
    names, probs, why = _predicted(source, features)
    leaves = _run(run.model, named.stage, held["params"])
    size, weight = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
    return Made(features, probs, why, names, run.config.model.name, size, weight, seconds)


def _run(model: Any, stage: str, params: dict) -> list[np.ndarray]:
    """The parameters that the features are made with."""
    stages = forward.stages(model)
    last = stages.index(stage) + 1 if stage in stages else None
    left_out = {HEAD, *(stages[last:] if last else ())}
    return [leaf for path, leaf in trees.flatten(params).items() if path.split("/")[0] not in left_out]


def _features(source: Opened, held: dict) -> tuple[np.ndarray, float]:
    folder, run, named = cache_folder(source.run.config), source.run, source.named
    trunk = {name: {key: part for key, part in tree.items() if key != HEAD} for name, tree in held.items()}
    key = teacher_key.of_all(run.model, source.target, {**trunk, "stage": _coded(named.stage)})
    kept, told = store.find(folder, key), folder / key / store.ABOUT
    if kept is None:
        began = time.monotonic()
        made_of = extraction.Trunk(
            run.model,
            held,
            source.target.modality,
            source.target.task,
            run.sample,
            eval_batch_size(run.config),
            run.config.data.threads,
            lambda split: source.target.whole[split],
            ("train",),
        )
        found = extraction.extract(made_of, ["train"], named.stage, mean=True)["train"].features
        about = {"features of": named.name, "seconds": time.monotonic() - began}
        store.write(folder, len(found), [{key: {"features": found}}], about)
        kept = {"features": found}
    return np.asarray(kept["features"]), float(json.loads(whole_file.read(told)).get("seconds", 0.0))


def _coded(stage: str) -> np.ndarray:
    return np.frombuffer(f"{_VERSION} pooled {stage}".encode(), np.uint8)


def _predicted(source: Opened, features: np.ndarray) -> tuple[list[str], np.ndarray | None, str]:
    """The names of a source's classes, what it predicts of them, and why it doesn't."""
    run, init = source.run, source.run.init
    if isinstance(init, str) and init == SCRATCH:
        return [], None, "it has learned nothing"
    if folders.is_run(init) and "class" not in (stored := open_run(init)).task.label_kinds:
        return [], None, f"its task is {stored.config.task}"
    try:
        names, head, params = sources.head_of(run.config.model.name, init, run.model, run.sample)
    except InputError as error:
        return [], None, str(error)
    if head.model.num_classes < 2 or source.named.stage:
        return names, None, "it has no head" if not source.named.stage else "its head is not given this stage"
    apply = jax.jit(lambda x: head.apply({"aux": {"heads": {head.name: params}}}, x))
    try:
        logits = [np.asarray(apply(features[i : i + _BLOCK]), np.float64) for i in range(0, len(features), _BLOCK)]
    except (TypeError, ValueError) as error:
        return names, None, f"its head takes no vectors: {' '.join(str(error).split()):.100}"
    stacked = np.concatenate(logits)
    exps = np.exp(stacked - stacked.max(1, keepdims=True))
    return names, exps / exps.sum(1, keepdims=True), ""
