"""Terms that set features against a discriminator of domains: DANN and CDAN; and against a second head: MDD, MCD."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array
from jtransfer.objectives import adversarial, confusion
from jtransfer.objectives.losses import as_sums, mean_of
from jtransfer.objectives.seen import HEAD, Domains, domains
from jtransfer.objectives.sums import Mean
from jtransfer.objectives.terms import TARGET, Context, Term


class Scorer(nn.Module):
    """A multilayer perceptron.

    Attributes:
      widths: of the hidden layers.
      outputs: the number of outputs.
    """

    widths: tuple[int, ...]
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B d"]) -> Float[Array, "B k"]:
        for i, width in enumerate(self.widths):
            x = nn.relu(nn.Dense(width, name=f"hidden{i + 1}")(x))
        return nn.Dense(self.outputs, name="out")(x)


def dann(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[int] = (1024, 1024),
    gamma: float = 10.0,
    highest: float = 1.0,
) -> Term:
    """Domain-adversarial training (Ganin et al. 2016, arXiv:1505.07818).

    A discriminator learns to tell the domains apart by a stage's outputs, and the reversed gradient makes them alike.
    The metric is the share of examples that it tells right.

    Args:
      context: of the run.
      source, target: the streams.
      at: the stage; "" is the one before the head.
      widths: of the hidden layers of the discriminator.
      gamma, highest: of the factor of the reversed gradient, see `adversarial.warm_up`.
    """
    seen, network = domains(context, "dann", source, target, at), Scorer(tuple(widths))

    def loss(view):
        features, masks = seen.features(view)
        factor = adversarial.warm_up(view.step, context.total_steps, gamma=gamma, highest=highest)
        scores = [_run(network, view.own, adversarial.reverse(x, factor))[:, 0] for x in features]
        return _told_apart(scores, masks, None, "dann")

    return Term(loss, seen.needs, lambda key, outputs: _begin(network, key, _width(outputs[source][seen.at])))


def cdan(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[int] = (1024, 1024),
    entropy: bool = True,
    randomized: int = 0,
    gamma: float = 10.0,
    highest: float = 1.0,
) -> Term:
    """Conditional domain-adversarial training, CDAN and CDAN+E (Long et al. 2018, arXiv:1705.10667).

    The discriminator sees the outer product of features and predictions; no gradient goes through the predictions.

    Args:
      context: of the run.
      source, target, at, widths, gamma, highest: as of `dann`.
      entropy: whether examples count by their certainty, 1 + exp(−entropy): CDAN+E.
      randomized: the width of a random projection in place of the outer product; 0 is the whole product.
    """
    seen, network = domains(context, "cdan", source, target, at), Scorer(tuple(widths))

    def joined(own, features, logits):
        p = jax.nn.softmax(jax.lax.stop_gradient(logits).astype(jnp.float32))
        if not randomized:
            return (features[:, :, None] * p[:, None]).reshape(len(p), -1)
        first, second = (jax.lax.stop_gradient(own["random"][name]) for name in ("features", "predictions"))
        return (features @ first) * (p @ second) / jnp.sqrt(jnp.float32(randomized))

    def loss(view):
        features, masks = seen.features(view)
        logits = seen.logits(view)
        factor = adversarial.warm_up(view.step, context.total_steps, gamma=gamma, highest=highest)
        scores = [
            _run(network, view.own["scorer"], adversarial.reverse(joined(view.own, x, y), factor))[:, 0]
            for x, y in zip(features, logits, strict=True)
        ]
        certainty = [jax.lax.stop_gradient(1 + jnp.exp(-confusion.entropy(y))) for y in logits]
        return _told_apart(scores, masks, certainty if entropy else None, "cdan")

    def init(key, outputs):
        width, classes = _width(outputs[source][seen.at]), outputs[source][HEAD].shape[-1]
        drawn = jax.random.split(key, 3)
        shapes = {"features": (width, randomized), "predictions": (classes, randomized)}
        random = {name: jax.random.normal(k, shape) for k, (name, shape) in zip(drawn[1:], shapes.items(), strict=True)}
        scorer = _begin(network, drawn[0], randomized or width * classes)
        return {"scorer": scorer, **({"random": random} if randomized else {})}

    return Term(loss, seen.needs, init)


def mdd(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[int] = (1024,),
    margin: float = 4.0,
    gamma: float = 10.0,
    highest: float = 0.1,
) -> Term:
    """Margin disparity discrepancy (Zhang et al. 2019, arXiv:1904.05801).

    An adversarial head is to agree with the head on the source and to disagree on the target; the features, by the
    reversed gradient, are to make that impossible. No gradient goes through the head's predictions.

    Args:
      context: of the run.
      source, target, at, gamma: as of `dann`.
      widths: of the hidden layers of the adversarial head.
      margin: the weight of the agreement.
      highest: the factor of the reversed gradient in the end.
    """
    return _two_heads(context, "mdd", domains(context, "mdd", source, target, at), widths, gamma, highest, margin)


def mcd(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[int] = (1024,),
    gamma: float = 10.0,
    highest: float = 1.0,
) -> Term:
    """Maximum classifier discrepancy (Saito et al. 2018, arXiv:1712.02560), with both of its steps in one.

    A second head learns the source's classes, and to differ from the first head on the target; the features, by the
    reversed gradient, make both heads agree there.

    Args:
      context: of the run.
      source, target, at, gamma, highest: as of `dann`.
      widths: of the hidden layers of the second head.
    """
    return _two_heads(context, "mcd", domains(context, "mcd", source, target, at), widths, gamma, highest, None)


def _two_heads(
    context: Context,
    term: str,
    seen: Domains,
    widths: Sequence[int],
    gamma: float,
    highest: float,
    margin: float | None,
) -> Term:
    def head(outputs: int) -> Scorer:
        return Scorer(tuple(widths), outputs)

    def loss(view):
        features, masks = seen.features(view)
        logits = [x.astype(jnp.float32) for x in seen.logits(view)]
        network = head(logits[0].shape[-1])
        factor = adversarial.warm_up(view.step, context.total_steps, gamma=gamma, highest=highest)

        def second(x, reversed_by=None):
            return _run(network, view.own, x if reversed_by is None else adversarial.reverse(x, reversed_by))

        if margin is not None:
            agreement = margin * adversarial.disparity(logits[0], second(features[0], factor))
            disagreement = -adversarial.disagreement(logits[1], second(features[1], factor))
            return [mean_of(agreement, masks[0]), mean_of(disagreement, masks[1])], {}
        labels = view.batch[seen.source]["target"]
        own = as_sums(context.streams[seen.source].loss)(second(features[0]), labels, masks[0])
        fixed = jax.lax.stop_gradient(logits[1])
        apart = -adversarial.discrepancy(fixed, second(features[1], factor))
        return [own, mean_of(apart, masks[1])], {}

    def init(key, outputs):
        return _begin(head(outputs[seen.source][HEAD].shape[-1]), key, _width(outputs[seen.source][seen.at]))

    return Term(loss, seen.needs, init)


def _run(network: nn.Module, params: Any, x: Array) -> Any:
    return network.apply({"params": params}, x)


def _begin(network: nn.Module, key: jax.Array, width: int) -> Any:
    return network.init(key, jnp.zeros((1, width)))["params"]


def _width(shape: Any) -> int:
    return math.prod(shape.shape[1:])


def _told_apart(scores: Sequence[Array], masks: Sequence[Array], weights: Sequence[Array] | None, name: str):
    """The mean over both domains of the discriminator's loss, and how many it tells right."""
    right: list[Mean] = []
    parts: list[Mean] = []
    for i, (score, mask) in enumerate(zip(scores, masks, strict=True)):
        losses, weight = adversarial.from_source(score, i == 0), None if weights is None else weights[i]
        found = mean_of(losses if weight is None else losses * weight, mask, weight)
        parts.append(Mean(0.5 * found.total, found.weight))
        right.append(mean_of(((score > 0) == (i == 0)).astype(jnp.float32), mask))
    told = Mean(right[0].total + right[1].total, right[0].weight + right[1].weight)
    return parts, {f"{name}/told_apart": told}
