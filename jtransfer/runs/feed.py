"""What a phase trains and evaluates on: images, or the cached outputs of the model's frozen prefix."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import data, evaluators
from jtransfer.core import sharding
from jtransfer.core.errors import unknown
from jtransfer.evaluators import generation
from jtransfer.features import prefix as features
from jtransfer.modalities.image import transforms
from jtransfer.runs import build as setup
from jtransfer.runs.build import Run
from jtransfer.training import step as steps
from jtransfer.training.phases import Phase
from jtransfer.training.state import TrainState


class View(NamedTuple):
    """Sources and transforms by split, and the stage that their examples are the input of (None: the first)."""

    run: Run
    sources: dict
    transforms: dict
    start: str | None = None

    def train_batches(self, step: int) -> Iterator[dict]:
        """This process's part of the batches from number `step` on, on the host."""
        config = self.run.config
        return data.train_batches(
            self.sources["train"],
            self.transforms["train"],
            config.batch_size,
            seed=config.seed,
            start=step,
            threads=config.data.threads,
            sampling=config.data.sampling,
            **setup.processes(),
        )

    def eval_batches(self, split: str) -> Iterator[dict]:
        """Every example of a split once, on the devices."""
        config = self.run.config
        batches = data.eval_batches(
            self.sources[split],
            self.transforms["eval"],
            setup.eval_batch_size(config),
            threads=config.data.threads,
            **setup.processes(),
        )
        for batch in batches:
            yield sharding.put_batch(batch, self.run.mesh)

    def evaluator(self):
        """`evaluate(state, split) -> (scalars, predictions)` with the moving average where there is one."""
        run = self.run
        inputs = preprocess(run.transforms["eval"], run.model.dtype)
        eval_step = jax.jit(steps.make_eval_step(run.model, preprocess=inputs, keep=run.task.keep, start=self.start))
        write = _writer(run)

        def score(table: dict):
            return run.task.score(table, run.sources["train"].class_names)

        def evaluate(state: TrainState, split: str):
            variables = state.variables(average=True)
            scalars, table = evaluators.run(eval_step, variables, self.eval_batches(split), score)
            if not write:
                return scalars, table
            more, written = write(variables, split)
            return scalars | more, table | written

        return evaluate


def _writer(run: Run):
    """`write(variables, split) -> (scalars, texts)` of the texts of a split that a run translates, or None."""
    config = run.config
    if run.task.writes != "targets" or not config.generate.texts:
        return None
    step = generation.make_step(run.model, generation.settings(config, run.model, run.tokenizer), config.seed)
    some = {split: data.subsample(source, config.generate.texts) for split, source in run.sources.items()}
    whole = images(run)._replace(sources=some)

    def write(variables: dict, split: str):
        _, table = evaluators.run(step, variables, whole.eval_batches(split), lambda table: ())
        found = generation.compare(table, some[split], run.tokenizer)
        return dict(generation.score(found)), found

    return write


def images(run: Run) -> View:
    """The view of the whole model."""
    return View(run, run.sources, run.transforms)


def check_metric(run: Run) -> None:
    """InputError where `early_stop.metric` is none that an evaluation gives; nothing is computed."""
    wanted, task = run.config.early_stop.metric, run.task
    if not wanted:
        return
    model, source = run.model, run.sources["train"]
    variables = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    batches = data.eval_batches(source, run.transforms["eval"], setup.eval_batch_size(run.config), **setup.processes())
    batch = next(batches)
    batches.close()
    step = steps.make_eval_step(model, preprocess=preprocess(run.transforms["eval"], run.model.dtype), keep=task.keep)
    kept = {"label": batch["label"]} | jax.eval_shape(step, variables, batch)
    blank = {name: np.zeros(array.shape, array.dtype) for name, array in kept.items()}
    known = [name for name, _ in task.score(blank, source.class_names)]
    known += ["bleu", "chrf"] if _writer(run) else []
    if wanted not in known:
        raise unknown("early_stop.metric", wanted, known)


def of_phase(run: Run, phase: Phase, state: TrainState) -> View:
    """The view of a phase; with `cache`, the frozen prefix is run here, once over each split."""
    whole = images(run)
    if not phase.cache:
        return whole
    stage = features.first_trained(phase.trainable, run.model.stages)
    prefix = jax.jit(
        steps.make_eval_step(run.model, preprocess=preprocess(run.transforms["eval"], run.model.dtype), stop=stage)
    )
    if run.tokenizer and (stage != "head" or run.task.by_token):
        whole = whole._replace(transforms={"eval": run.transforms["eval"].of_one_width()})
    variables = state.variables()
    cached = {
        split: features.Features(*features.extract(prefix, variables, whole.eval_batches(split)), source)
        for split, source in run.sources.items()
    }
    return View(run, cached, {"train": None, "eval": None}, stage)


def preprocess(transform: Any, dtype: Any):
    """What the step does to the inputs that a transform makes: images are normalised, pairs [B, 2, n] become texts
    [2·B, n], and texts that share a row see themselves alone."""
    if not isinstance(transform, transforms.Pipeline):
        return _texts
    return steps.pixels(**setup.statistics(transform), dtype=dtype)


def _texts(inputs: Any) -> Any:
    if isinstance(inputs, dict) and "text_number" in inputs:
        number = inputs["text_number"]
        same = number[:, :, None] == number[:, None, :]
        inputs = {k: v for k, v in inputs.items() if k != "text_number"} | {"attention_mask": same}
    return jax.tree.map(_single, inputs)


def _single(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1]) if x.ndim == 3 and jnp.issubdtype(x.dtype, jnp.integer) else x
