"""Terms that set features against a discriminator of domains: DANN and CDAN; and against a second head: MDD, MCD."""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.core.fields import Bounds, Count, CountOrZero, NotNegative
from jtransfer.objectives import adversarial, confusion, discriminator
from jtransfer.objectives.losses import as_sums, mean_of
from jtransfer.objectives.seen import HEAD, Domains, domains
from jtransfer.objectives.sums import values
from jtransfer.objectives.term import TARGET, Context, Term


def dann(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[Count] = (1024, 1024),
    gamma: NotNegative = 10.0,
    highest: NotNegative = 1.0,
    partial: bool = False,
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
      partial: whether an example of the source counts by the mean prediction of its class for the target's examples of
        the batch, so that classes that the target has not are left aside (PADA, Cao et al. 2018, arXiv:1808.04205).
    """
    seen, network = domains(context, "dann", source, target, at), discriminator.Scorer(tuple(widths))

    def loss(view):
        features, masks = seen.features(view)
        factor = adversarial.warm_up(view.step, context.total_steps, gamma=gamma, highest=highest)
        scores = [discriminator.score(network, view.own, adversarial.reverse(x, factor)) for x in features]
        if not partial:
            return discriminator.told_apart(scores, masks, None, "dann")
        shares = confusion.class_shares(seen.logits(view)[1], masks[1])
        weights = [shares[_classes(view.batch[source]["label"])], jnp.ones(len(masks[1]))]
        return values(discriminator.told_apart(scores, masks, weights, "dann"))  # of the whole batch

    def init(key, outputs):
        return discriminator.begin(network, key, discriminator.width(outputs[source][seen.at]))

    return Term(loss, seen.needs, init)


def _classes(labels: Any) -> Any:
    if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError("objective: 'dann' with partial=True needs classes, of which each example has one")
    return labels


def cdan(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[Count] = (1024, 1024),
    entropy: bool = True,
    randomized: CountOrZero = 0,
    gamma: NotNegative = 10.0,
    highest: NotNegative = 1.0,
) -> Term:
    """Conditional domain-adversarial training, CDAN and CDAN+E (Long et al. 2018, arXiv:1705.10667).

    The discriminator sees the outer product of features and predictions; no gradient goes through the predictions.

    Args:
      context: of the run.
      source, target, at, widths, gamma, highest: as of `dann`.
      entropy: whether examples count by their certainty, 1 + exp(−entropy): CDAN+E.
      randomized: the width of a random projection in place of the outer product; 0 is the whole product.
    """
    seen, network = domains(context, "cdan", source, target, at), discriminator.Scorer(tuple(widths))

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
            discriminator.score(network, view.own["scorer"], adversarial.reverse(joined(view.own, x, y), factor))
            for x, y in zip(features, logits, strict=True)
        ]
        certainty = [jax.lax.stop_gradient(1 + jnp.exp(-confusion.entropy(y))) for y in logits]
        return discriminator.told_apart(scores, masks, certainty if entropy else None, "cdan")

    def init(key, outputs):
        width, classes = discriminator.width(outputs[source][seen.at]), outputs[source][HEAD].shape[-1]
        drawn = jax.random.split(key, 3)
        shapes = {"features": (width, randomized), "predictions": (classes, randomized)}
        random = {name: jax.random.normal(k, shape) for k, (name, shape) in zip(drawn[1:], shapes.items(), strict=True)}
        scorer = discriminator.begin(network, drawn[0], randomized or width * classes)
        return {"scorer": scorer, **({"random": random} if randomized else {})}

    return Term(loss, seen.needs, init)


def mdd(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[Count] = (1024,),
    margin: Annotated[float, Bounds(1)] = 4.0,
    gamma: NotNegative = 10.0,
    highest: NotNegative = 0.1,
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
    widths: Sequence[Count] = (1024,),
    gamma: NotNegative = 10.0,
    highest: NotNegative = 1.0,
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
    def head(outputs: int) -> discriminator.Scorer:
        return discriminator.Scorer(tuple(widths), outputs)

    def loss(view):
        features, masks = seen.features(view)
        logits = [x.astype(jnp.float32) for x in seen.logits(view)]
        network = head(logits[0].shape[-1])
        factor = adversarial.warm_up(view.step, context.total_steps, gamma=gamma, highest=highest)

        def second(x, reversed_by=None):
            return discriminator.run(
                network, view.own, x if reversed_by is None else adversarial.reverse(x, reversed_by)
            )

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
        return discriminator.begin(
            head(outputs[seen.source][HEAD].shape[-1]), key, discriminator.width(outputs[seen.source][seen.at])
        )

    return Term(loss, seen.needs, init)
