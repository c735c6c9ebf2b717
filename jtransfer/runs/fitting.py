"""Phases whose head is fitted by an estimator of scikit-learn, on the features of the frozen stages before it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.data import Source
from jtransfer.features import prefix
from jtransfer.models.fitted import estimator_of
from jtransfer.models.paths import HEAD
from jtransfer.objectives import TARGET
from jtransfer.runs import batches
from jtransfer.training import estimators
from jtransfer.training import step as steps

Run = Any  # build.Run


def check(run: Run) -> None:
    """Checks that a run whose head is fitted asks for nothing that only training does.

    Raises:
      InputError: It does, or scikit-learn is missing.
    """
    name, config = estimator_of(run.model), run.config
    if not name:
        return
    estimators.check(name, run.model.estimator_options)
    (first, *more), target = run.phases, run.target
    moving = {path for path, moves in trees.flatten(first.trainable).items() if moves}
    if more or first.steps != 1 or any(not path.startswith(f"params/{HEAD}/") for path in moving):
        raise InputError(
            f"the head of {config.model.name} is fitted at once; give one phase: "
            "config.phases = [configs.phase('fit', trainable='head/.*', steps=1, cache=True)]"
        )
    if target.task_name != "classify":
        raise InputError(f"{name} fits classes; this is task={target.task_name!r}")
    terms = [next(iter(term)) for term in config.objective]
    asked = {
        "streams": len(run.streams) > 1,
        "objective": terms != ["task"],
        "loss.name": config.loss.name,
        "loss.balanced": config.loss.balanced,
        "mixup": config.mixup,
        "cutmix": config.cutmix,
        "optim.ema": config.optim.ema,
        "optim.accumulate": config.optim.accumulate > 1,
        "quantize": config.quantize,
    }
    if wrong := [field for field, given in asked.items() if given]:
        raise InputError(f"{name} is fitted, not trained, and takes no {' and no '.join(wrong)}; leave it out")


def make_step(run: Run, cached: Mapping[str, Source] | None) -> Callable:
    """Returns the one step of the phase, `(state, batch) -> (state, metrics)`. It looks at all examples, not the batch.

    Args:
      run: The run.
      cached: Split → the features of its examples, where the phase has computed them.
    """
    name = estimator_of(run.model)

    def fit(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        x, y = _of_source(cached["train"]) if cached else _features(run, state.variables())
        if x.ndim != 2:
            raise InputError(f"{name} takes vectors, and the stages before the head give {list(x.shape)}")
        head = state.trainable["params"][HEAD]
        fitted, loss, told = estimators.fit(name, run.model.estimator_options, x, y, head, run.config.seed)
        for line in told if jax.process_index() == 0 else ():
            say(one_line(f"{name}: {line}", 300))
        placed = jax.tree.map(lambda new, old: sharding.place(np.asarray(new, old.dtype), old.sharding), fitted, head)
        return state.replace(step=state.step + 1, trainable={"params": {HEAD: placed}}), {"loss": np.float32(loss)}

    return fit


def _of_source(source: Source) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([np.asarray(source[i]["inputs"], np.float32) for i in range(len(source))]), source.labels


def _features(run: Run, variables: dict) -> tuple[np.ndarray, np.ndarray]:
    stream = run.streams[TARGET]
    preprocess, transform = stream.preprocess(run.model, train=False), stream.transform(run.model, train=False)
    step = jax.jit(steps.make_eval_step(run.model, preprocess=preprocess, stop=HEAD))
    x, y = prefix.extract(step, variables, batches.of_evaluation(run, stream.sources["train"], transform))
    return np.asarray(x, np.float32), y
