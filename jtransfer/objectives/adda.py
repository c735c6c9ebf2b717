"""The term of adversarial discriminative domain adaptation: a target encoder against a source network that is fixed."""

from collections.abc import Sequence

import jax

from jtransfer.core.fields import Count
from jtransfer.objectives import adversarial, discriminator
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import domains
from jtransfer.objectives.term import TARGET, Context, Term


def adda(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    widths: Sequence[Count] = (500, 500),
) -> Term:
    """ADDA (Tzeng et al. 2017, arXiv:1702.05464), the second of its two phases; the first is a run on the source, from
    which this one begins.

    A discriminator learns to tell the features that the network which the run began with gives for the source from
    those that the trained network gives for the target; the trained network learns to have its own taken for the
    source's. Both are done in each step. The head should not be trained, and the term stands in place of the task. The
    metric is the share of examples that the discriminator tells right.

    Args:
      context: of the run.
      source, target: the streams.
      at: the stage; "" is the one before the head.
      widths: of the hidden layers of the discriminator.
    """
    seen, network = domains(context, "adda", source, target, at), discriminator.Scorer(tuple(widths))

    def loss(view):
        begun = {**view.outputs, source: view.initially(source, (seen.at,))}
        (fixed, moving), masks = seen.features(view._replace(outputs=begun))
        scores = [discriminator.score(network, view.own, x) for x in (fixed, jax.lax.stop_gradient(moving))]
        parts, metrics = discriminator.told_apart(scores, masks, None, "adda")
        taken = discriminator.score(network, jax.lax.stop_gradient(view.own), moving)
        return [*parts, mean_of(adversarial.from_source(taken, True), masks[1])], metrics

    def init(key, outputs):
        return discriminator.begin(network, key, discriminator.width(outputs[source][seen.at]))

    return Term(loss, (*seen.needs, "initial_network"), init)
