"""What data say of models that are to be fused: scores, statistics of batch norms, Fisher information, inputs."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jtransfer import data
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import Source as Examples
from jtransfer.evaluators import EVALUATORS
from jtransfer.fusing.source import Source
from jtransfer.metrics.intervals import wilson
from jtransfer.models import forward
from jtransfer.objectives import TARGET
from jtransfer.objectives.ewc import fisher
from jtransfer.objectives.term import Source as Task
from jtransfer.runs import assemble, batches, build, evaluation, feed, same_classes, surveys
from jtransfer.runs import config as configs
from jtransfer.runs.stream import spec_of
from jtransfer.training import statistics

Run = build.Run
VALIDATION = evaluation.VALIDATION
_OTHERS = ("streams", "teachers", "alone", "source", "init_parts")  # sections of a config that only training needs


def opened(config: Any, first: Source, dest: str) -> Run:
    """Returns the data of a config with the model of the sources, without anything that is trained.

    Args:
      config: The config; its model and its init are not looked at.
      first: The first of the sources.
      dest: The folder that is to be written.

    Raises:
      InputError: A data set is wrong.
    """
    full = configs.complete(config).copy_and_resolve_references().unlock()
    full.init, full.model.name, full.model.fields = first.described_by, "", ConfigDict()
    full.adapters, full.adapters_init, full.quantize, full.reinit, full.ignore = (), "", "", (), ()
    for name in _OTHERS:
        full[name] = ConfigDict()
    full.objective, full.model_selection = [("task", 1.0)], "best"
    run = build.opened(configs.complete(full), f"{dest}/.none", sharding.make_mesh(full.mesh.to_dict()))
    return run._replace(model=first.spec.model)


def can_choose(run: Run, first: Source) -> bool:
    """Returns whether there is a validation split of the classes of the sources' heads."""
    try:
        check_classes(run, first)
    except InputError:
        return False
    return VALIDATION in run.target.sources and any(path.split("/")[1] == forward.OUTPUT for path in first.leaves)


def check_classes(run: Run, first: Source) -> None:
    """Checks that the sources' heads are of the classes of the data.

    Raises:
      InputError: They are not.
    """
    ours, theirs = run.target.class_names, first.spec.class_names
    if len(ours) != first.spec.model.num_classes or (theirs and ours and list(theirs) != list(ours)):
        raise InputError(
            f"the classes of {run.config.data.name} are not those of {first.name}, so that nothing tells how good it is"
        )


def scorer(run: Run, split: str = VALIDATION) -> Callable[[trees.Tree], float]:
    """Returns a function from variables to the score on a split, the larger, the better.

    Raises:
      InputError: There is no such split.
    """
    found = metrics(run, split)
    return lambda variables: _score(run, found(variables))


def _score(run: Run, scalars: Mapping[str, float]) -> float:
    score = evaluation.score(run, scalars, last=True)
    assert score is not None
    return score


def shown(run: Run, score: float) -> float:
    """Returns the metric's own value of a score."""
    return evaluation.value(run, score)


def metric(run: Run) -> str:
    """Returns the name of the metric that decides."""
    return evaluation.metric(run)


def interval(run: Run, split: str, value: float) -> tuple[float, float] | None:
    """Returns Wilson's 95 % interval of the metric that decides, where it is the share of examples that are right."""
    if metric(run) != "accuracy" or run.target.task.name != "classify":
        return None
    count = len(run.target.sources[split])
    return wilson(value * count, count)


def written(run: Run, split: str, value: float) -> str:
    """Returns a value of the metric that decides, with its interval, for people."""
    found = interval(run, split, value)
    return f"{value:.4f}" + (f" ({found[0]:.3f}–{found[1]:.3f})" if found else "")


def metrics(run: Run, split: str) -> Callable[[trees.Tree], dict[str, float]]:
    """Returns a function from variables to the metrics of the task on a split, by name or as an expression."""
    if split == VALIDATION and VALIDATION not in run.target.sources:
        raise InputError(
            "the choice is made on the validation split; give --config.data.validation, such as train[90%:]"
        )
    evaluate = EVALUATORS["split"](feed.Feed(run).context(), split)

    def found(variables: trees.Tree) -> dict[str, float]:
        told = evaluate(_placed(run, variables))
        return {name: float(value) for name, value in told if not (isinstance(value, np.ndarray) and value.ndim)}

    return found


def shifted(run: Run, name: str) -> Run:
    """Returns the data with another data set in place of the test split, with the classes of the same names.

    Args:
      run: The data.
      name: Of the data set, as in `config.data.name`; it is read with the other fields of `config.data`.
    """
    target, config = run.target, run.config
    spec = spec_of(config.data, target.modality_name, target.task_name) | {"name": name}
    source = same_classes.renumbered(data.open(spec, config.data.test), target.class_names, name)
    sources = {**target.sources, evaluation.TEST: target.modality.pack(source, target.task)}
    return run._replace(streams={TARGET: target._replace(sources=sources)})


def _placed(run: Run, variables: trees.Tree) -> Any:
    shardings = sharding.of_params(variables, run.mesh, "replicate")
    return jax.tree.map(sharding.place, variables, shardings)


def has_norms(source: Source) -> bool:
    """Returns whether a model has batch norms."""
    return any(path.startswith(f"{statistics.STATISTICS}/") for path in source.leaves)


def renewed(run: Run, split: str) -> tuple[Callable[[dict], dict], int]:
    """Returns a function from variables to the same with the statistics of their batch norms taken anew, and the number
    of the examples that they are of. No label is looked at.

    Args:
      run: The data.
      split: "train", or an expression such as "train[:2000]".
    """
    source, step = _examples(run, split), jax.jit(statistics.make_step(run.model, _preprocess(run)))
    transform = run.target.transform(run.model, train=False)

    def renew(variables: dict) -> dict:
        examples = batches.of_evaluation(run, source, transform)
        found = statistics.estimate(step, _placed(run, variables), examples)
        return {**variables, statistics.STATISTICS: jax.device_get(found)}

    return renew, len(source)


def _examples(run: Run, split: str) -> Examples:
    return run.target.sources["train"] if split == "train" else feed.opened(run, split)


def _preprocess(run: Run) -> Callable[[Any], Any]:
    return run.target.preprocess(run.model, train=False)


def fishers(run: Run, variables: dict, examples: int, seed: int) -> dict[str, np.ndarray]:
    """Returns the diagonal of the Fisher information of a model by full path, of what it predicts itself.

    Args:
      run: The data.
      variables: Of the model.
      examples: How many of the training examples are looked at.
      seed: Of the random directions.
    """
    loss = assemble.loss(run.config.loss, run.target)
    task = Task(run.model.num_classes, True, {}, lambda params, x: x, loss)
    survey = surveys.survey_of(run, _placed(run, variables))
    survey = survey._replace(batches=lambda _, most: surveys.survey_of(run, variables).batches(TARGET, most))
    found = fisher(survey, variables["params"], task, forward.OUTPUT, examples=examples, draws=1, seed=seed)
    return {f"params/{path}": np.asarray(value) for path, value in found.items()}


def grams(run: Run, variables: dict, examples: int) -> dict[str, np.ndarray]:
    """Returns the inner products [d, d] of the inputs of all dense layers, by the full path of their kernels.

    Args:
      run: The data.
      variables: Of the model.
      examples: How many of the training examples are looked at.
    """

    @jax.jit
    def step(variables: Any, batch: Any) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        with nn.intercept_methods(functools.partial(_look, found, batch["mask"])):
            forward.apply(run.model, variables, batch["inputs"])
        return found

    total, placed = {}, _placed(run, variables)
    for batch in surveys.survey_of(run, variables).batches(TARGET, examples):
        found = step(placed, {name: batch[name] for name in ("inputs", "mask")})
        total = {path: total.get(path, 0) + np.asarray(value, np.float64) for path, value in found.items()}
    return total


def _look(found: dict, mask: Any, call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Adds the inner products of what a dense layer is given, without examples that fill up a batch."""
    module = context.module
    if isinstance(module, nn.Dense) and context.method_name == "__call__":
        x = args[0].astype(jnp.float32).reshape(len(mask), -1, args[0].shape[-1]) * mask[:, None, None]
        flat, path = x.reshape(-1, x.shape[-1]), "/".join(["params", *module.path, "kernel"])
        found[path] = found.get(path, 0) + flat.T @ flat
    return call(*args, **kwargs)
