"""Terms that hold a network to what it did before the run: its features (DELTA), its answers (LwF, Co-Tuning)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError
from jtransfer.core.fields import CountOrZero, NotNegative, Positive
from jtransfer.layers.types import Array
from jtransfer.objectives import attention, distillation
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import check_stream, outputs_of, stage
from jtransfer.objectives.term import FEATURES, TARGET, Context, Term

NETWORK = "initial_network"


def delta(
    context: Context,
    *,
    stream: str = TARGET,
    at: str | Sequence[str] = (),
    examples: CountOrZero = 0,
    alpha: NotNegative = 1.0,
) -> Term:
    """Holds feature maps to those of the initial network: DELTA (Li et al. 2019, arXiv:1901.09229), `feature_distance`.

    The value is the sum over the stages. It costs a pass forwards of the initial network. The paper adds `l2sp` on the
    new head with a weight of its own.

    Args:
      context: of the run.
      stream: whose examples.
      at: the stages, or paths of submodules; by default those named stage1, stage2, …, or else the one before the head.
      examples: of the training data, on which it is measured once how much the loss of a linear head grows without a
        channel; the channels are weighted by that. 0 weights all channels of a stage alike.
      alpha: the factor on what is measured; 1 as published.
    """
    check_stream(context, "delta", stream)
    places = _stages(context, at)
    if examples and not getattr(context.model, "stages", ()):
        raise InputError("objective: 'delta' measures channels (examples > 0) of models with stages only; set it to 0")

    def loss(view):
        batch, before = view.batch[stream], view.initially(stream, places)
        lengths = _lengths(batch["inputs"])
        each = jnp.zeros(len(batch["mask"]), jnp.float32)
        for place in places:
            weights = view.constants[place] if examples else None
            now = outputs_of(view, stream)[place]
            if not hasattr(now, "shape"):
                raise InputError(
                    f"objective: 'delta' needs one array of each example, and {place!r} returns {', '.join(now)}"
                )
            each += feature_distance(now, before[place], weights, lengths)
        return mean_of(each, batch["mask"]), {}

    def constants(_, outputs):
        shapes = outputs[stream]
        return {place: jnp.zeros(shapes[place].shape[-1]) for place in places}

    def measure(survey, _):
        return attention.measure(survey, places, stage(context, "delta", ""), examples=examples, alpha=alpha)

    needs = (NETWORK, *(f"{FEATURES}{place}" for place in places))
    if not examples:
        return Term(loss, needs)
    return Term(loss, (*needs, f"{FEATURES}{stage(context, 'delta', '')}"), constants=constants, measure=measure)


def feature_distance(
    now: Float[Array, "B *n c"],
    before: Float[Array, "B *n c"],
    weights: Float[Array, " c"] | None = None,
    real: Array | None = None,
) -> Float[Array, " B"]:
    """Returns `½ Σ_c W_c ‖now_c − before_c‖² · c / n` of each example, n being the positions of a map.

    Args:
      now, before: feature maps, or vectors; no gradient is taken of `before`.
      weights: W of the channels, which add up to 1; None is 1 / c.
      real: bools [B, n], False where a position of a sequence is padding, which is left out.
    """
    channels = now.shape[-1]
    squares = jnp.square(now.astype(jnp.float32) - jax.lax.stop_gradient(before).astype(jnp.float32))
    squares = squares.reshape(len(now), -1, channels)
    counted = jnp.ones(squares.shape[:2], jnp.float32)
    if real is not None and real.shape == counted.shape:
        counted = real.astype(jnp.float32)
    of_channel = (squares * counted[..., None]).sum(1) / jnp.maximum(counted.sum(1), 1)[:, None]
    weights = jnp.full(channels, 1 / channels) if weights is None else weights
    return 0.5 * channels * of_channel @ weights


def _lengths(inputs: Any) -> Any:
    return inputs.get("attention_mask") if isinstance(inputs, Mapping) else None


def _stages(context: Context, at: str | Sequence[str]) -> tuple[str, ...]:
    if at:
        return (at,) if isinstance(at, str) else tuple(at)
    stages = [name for name in getattr(context.model, "stages", ()) if re.fullmatch(r"stage\d+", name)]
    return tuple(stages) or (stage(context, "delta", ""),)


def lwf(context: Context, *, stream: str = TARGET, temperature: Positive = 2.0) -> Term:
    """Keeps the answers of the source's head on new examples: learning without forgetting (Li & Hoiem 2016,
    arXiv:1606.09282), by `distillation.soft_targets` of the initial network with the head that it had.

    The source's head is trained on, at `aux/lwf`, from what `config.init` has; the evaluation of the source task takes
    it. No data of the source are needed.

    Args:
      context: of the run.
      stream: whose examples.
      temperature: of both predictions.
    """
    check_stream(context, "lwf", stream)
    place, source = stage(context, "lwf", ""), _source(context, "lwf")

    def loss(view):
        before = source.head(view.constants, view.initially(stream, (place,))[place])
        now = source.head(view.own, outputs_of(view, stream)[place])
        return mean_of(distillation.soft_targets(now, before, temperature=temperature), view.batch[stream]["mask"]), {}

    def kept(*_):
        return jax.tree.map(jnp.asarray, source.params)

    return Term(loss, (NETWORK, f"{FEATURES}{place}"), kept, kept)


def cotuning(context: Context) -> Term:
    """Trains the source's head with the target's labels told as the source's: Co-Tuning (You et al. 2020, NeurIPS).

    The relation p(y_s | y_t) is the mean of the source head's probabilities over the training examples of each class,
    as the initial network gives them, measured once before the first step. The source's head is trained on, at
    `aux/cotuning`.

    Args:
      context: of the run.
    """
    place, source = stage(context, "cotuning", ""), _source(context, "cotuning")
    classes = getattr(context.model, "num_classes", 0)

    def loss(view):
        batch = view.batch[TARGET]
        logits = source.head(view.own, outputs_of(view, TARGET)[place])
        return mean_of(translated(logits, batch["target"], view.constants), batch["mask"]), {}

    def measure(survey, blank):
        totals, counts = blank, jnp.zeros(classes)
        add = jax.jit(lambda totals, counts, batch: _add(survey, source, place, totals, counts, batch))
        for batch in survey.batches(TARGET, 0):
            totals, counts = add(totals, counts, batch)
        if not bool((counts > 0).all()):
            raise InputError("objective: 'cotuning' needs training examples of each class, and some classes have none")
        return totals / counts[:, None]

    return Term(
        loss,
        (NETWORK, f"{FEATURES}{place}"),
        lambda *_: jax.tree.map(jnp.asarray, source.params),
        lambda *_: jnp.zeros((classes, source.classes)),
        measure,
    )


def translated(
    logits: Float[Array, "B S"], labels: Int[Array, " B"] | Float[Array, "B T"], relation: Float[Array, "T S"]
) -> Float[Array, " B"]:
    """Returns the cross-entropy of the source's classes, as the labels of the target are told by a relation."""
    told = relation[labels] if jnp.issubdtype(labels.dtype, jnp.integer) else labels.astype(jnp.float32) @ relation
    return -(told * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def _add(survey: Any, source: Any, place: str, totals: Array, counts: Array, batch: Any) -> tuple[Array, Array]:
    found = source.head(source.params, survey.look(survey.variables, batch["inputs"], (place,))[place])
    labels = jax.nn.one_hot(batch["label"], len(totals)) * batch["mask"][:, None]
    probabilities = jax.nn.softmax(found.astype(jnp.float32))
    return totals + jnp.matmul(labels.T, probabilities, precision="highest"), counts + labels.sum(0)


def _source(context: Context, term: str) -> Any:
    if context.source is None:
        raise InputError(f"objective: {term!r} needs the head of the network that config.init has")
    return context.source()
