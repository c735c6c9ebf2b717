"""Elastic weight consolidation: parameters stay where they were, as far as the source task depends on them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.fields import CountOrZero
from jtransfer.layers.types import Array
from jtransfer.objectives.losses import as_sums
from jtransfer.objectives.seen import HEAD, stage
from jtransfer.objectives.sums import is_mean
from jtransfer.objectives.term import Context, Source, Survey, Term

_EXACT = 64  # outputs, of which the square root of the curvature is computed


def ewc(context: Context, *, examples: CountOrZero = 1000, draws: CountOrZero = 1, shared: str = "") -> Term:
    """½ Σ F · (w − w₀)²: elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796).

    F is the diagonal of the Fisher matrix of the source task at w₀, measured once before the first step, in evaluation,
    with the head that `config.init` has, on the training data of the source: those of `config.source`, or those of the
    run that the init is. It is the expectation over what the network itself predicts, not over the labels, so that it
    is not 0 where the labels are learnt by heart.

    Args:
      context: of the run.
      examples: of the source; 0 is all. Where there are more, those that are measured are evenly spread.
      draws: random directions for each example, one pass backwards each; 0 is the exact Fisher matrix, which takes a
        pass backwards for each output.
      shared: a regular expression of the parameters that are held; by default all, but for the head if its classes are
        not the source's.
    """
    if context.source is None:
        raise InputError("objective: 'ewc' needs the task that config.init was trained on")
    source = context.source()
    if source.loss is None:
        raise InputError(
            "objective: 'ewc' measures on the data of the source task; name them in config.source, as in config.data, "
            "or give the folder of a run as config.init"
        )
    if not draws and source.classes > _EXACT:
        raise InputError(
            f"objective: 'ewc' with draws=0 is for {_EXACT} outputs at most, and the source has {source.classes} "
            "classes; give draws=1 or more"
        )
    table = [(shared or (".*" if source.shares else r"(?!head/).*"), True), (".*", False)]
    place = HEAD if source.shares else stage(context, "ewc", "")

    def constants(variables, _):
        return _held(variables["params"], table)

    def measure(survey, blank):
        return trees.unflatten(fisher(survey, blank, source, place, examples=examples, draws=draws))

    def loss(view):
        params, initial, total = trees.flatten(view.variables["params"]), trees.flatten(view.initial), jnp.zeros(())
        for path, weights in trees.flatten(view.constants).items():
            away = (params[path] - initial[path]).astype(jnp.float32)
            total += 0.5 * jnp.sum(weights * jnp.square(away))
        return total, {}

    return Term(loss, ("initial",), constants=constants, measure=measure)


def _held(params: Any, table: Any) -> dict:
    chosen = trees.flatten(rules.match(table, params, name="objective: ewc"))
    flat = trees.flatten(params)
    return trees.unflatten({path: jnp.zeros(flat[path].shape) for path, held in chosen.items() if held})


def fisher(
    survey: Survey, held: Any, source: Source, place: str, *, examples: int, draws: int, seed: int = 0
) -> dict[str, Array]:
    """Returns the diagonal of the Fisher matrix of the source's loss, the mean over examples, by path.

    For losses that are a log-likelihood of an exponential family (cross-entropies, squared errors) it is the diagonal
    of the generalised Gauss–Newton matrix, which is computed.

    Args:
      survey: of the initial network.
      held: the parameters that are measured, or arrays like them.
      source: the task.
      place: the stage whose output the source's head is given; "head" where the model's own is the source's.
      examples, draws: as of `ewc`.
      seed: of the directions.
    """
    params = trees.flatten(survey.variables["params"])
    moving = {path: params[path].astype(jnp.float32) for path in trees.flatten(held)}

    def output(moving, x):
        whole = trees.unflatten(params | moving)
        found = survey.look({**survey.variables, "params": whole}, x, (place,))[place]
        return (found if place == HEAD else source.head(source.params, found)).astype(jnp.float32)

    def of_example(carry, example):
        total, key = carry
        key, own = jax.random.split(key)
        x, label = (jax.tree.map(lambda leaf: leaf[None], example[name]) for name in ("inputs", "label"))
        out, pull = jax.vjp(lambda moving: output(moving, x), moving)
        along = directions(lambda logits, label: _value(source.loss, logits, label), out, label, draws, own)

        def add(total, direction):
            (slope,) = pull(direction)
            scale = example["mask"] / (draws or 1)
            return jax.tree.map(lambda t, g: t + scale * jnp.square(g), total, slope), None

        return (jax.lax.scan(add, total, along)[0], key), None

    run = jax.jit(lambda carry, batch: jax.lax.scan(of_example, carry, batch)[0])
    carry, count = (jax.tree.map(jnp.zeros_like, moving), jax.random.key(seed)), 0.0
    for batch in survey.batches("source", examples):
        wanted = {name: batch[name] for name in ("inputs", "label", "mask")}
        carry, count = (
            run(carry, {**wanted, "mask": wanted["mask"].astype(jnp.float32)}),
            count + float(batch["mask"].sum()),
        )
    return jax.tree.map(lambda total: total / count, carry[0])


def directions(loss: Any, out: Array, label: Any, draws: int, key: jax.Array) -> Float[Array, "n ..."]:
    """Returns vectors s like the output, of which the mean of `s sᵀ`, or without draws the sum, is the curvature of the
    loss by the output.

    Args:
      loss: `(output, label) -> number`, a mean over the labels of the example.
      out: the output of one example.
      label: its label.
      draws: the number of random ones; 0 gives the columns of the matrix's square root.
      key: a random key.

    Raises:
      InputError: the outputs are too many for the square root, and no classes to draw.
    """
    if out.size <= _EXACT:
        curvature = jax.hessian(lambda flat: loss(flat.reshape(out.shape), label))(out.reshape(-1))
        values, vectors = jnp.linalg.eigh(curvature)
        root = vectors * jnp.sqrt(jnp.maximum(values, 0))
        signs = jax.random.rademacher(key, (draws, out.size), jnp.float32)
        return (signs @ root.T if draws else root.T).reshape(-1, *out.shape)
    if not draws or not jnp.issubdtype(label.dtype, jnp.integer) or label.shape != out.shape[:-1]:
        raise InputError(
            f"the Fisher matrix of {out.size} outputs of an example, more than {_EXACT}, needs draws=1 or more, and "
            "classes as labels"
        )
    drawn = jax.random.categorical(key, out, shape=(draws, *label.shape))
    real = jnp.sqrt(jnp.maximum((label >= 0).sum(), 1))
    return jax.vmap(lambda own: real * jax.grad(loss)(out, jnp.where(label < 0, label, own)))(drawn)


def _value(loss: Any, logits: Array, label: Any) -> Array:
    found = as_sums(loss)(logits, label, jnp.ones(1, bool))
    return found.value if is_mean(found) else found
