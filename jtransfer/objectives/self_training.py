"""Terms in which a model learns from its own predictions: FixMatch, pseudo-labels, and those of SHOT."""

import jax.numpy as jnp

from jtransfer.core.fields import CountOrZero, Positive
from jtransfer.objectives import pseudo_labels
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import check_stream, predicted, stage, vectors
from jtransfer.objectives.term import FEATURES, STRONG, TARGET, Context, Term


def pseudo(context: Context, *, stream: str = TARGET, threshold: Positive = 0.95) -> Term:
    """The cross-entropy with the model's own prediction, of the examples of which it is certain; the others count as 0
    (pseudo-labels, Lee 2013). The metric is the share of examples that are used.

    Args:
      context: of the run.
      stream: of the unlabelled examples.
      threshold: the least probability of a prediction that is used.
    """
    check_stream(context, "pseudo", stream)

    def loss(view):
        logits, mask = predicted(view, stream)
        return _learned(logits, logits, mask, threshold, "pseudo")

    return Term(loss)


def fixmatch(context: Context, *, stream: str = TARGET, threshold: Positive = 0.95) -> Term:
    """The cross-entropy of a strongly transformed view of an example with the prediction for the usual, weak one, where
    that is certain (FixMatch, Sohn et al. 2020, arXiv:2001.07685). It costs a second pass of the model.

    Both views are drawn by one generator for each example; `data.strong` says how the strong one is made. The metric is
    the share of examples that are used.

    Args:
      context: of the run.
      stream: of the unlabelled examples.
      threshold: the least probability of a prediction that is used.
    """
    check_stream(context, "fixmatch", stream)

    def loss(view):
        weak, mask = predicted(view, stream)
        strong = view.forward(view.batch[stream]["strong"], view.key)
        return _learned(weak, strong, mask, threshold, "fixmatch")

    return Term(loss, (f"{STRONG}{stream}",))


def shot(context: Context, *, stream: str = TARGET, at: str = "", rounds: CountOrZero = 1) -> Term:
    """The cross-entropy with the classes whose centroids are nearest (`pseudo_labels.of_centroids`): the second part of
    SHOT, beside "infomax", with a head that is not trained. Centroids are those of each batch, anew in each step.

    Args:
      context: of the run.
      stream: of the unlabelled examples.
      at: the stage whose outputs are compared; "" is the one before the head.
      rounds: how often the centroids are made anew.
    """
    check_stream(context, "shot", stream)
    place = stage(context, "shot", at)

    def loss(view):
        logits, mask = predicted(view, stream)
        labels = pseudo_labels.of_centroids(vectors(view, stream, place), logits, mask, rounds=rounds)
        return mean_of(pseudo_labels.cross_entropy(logits, labels), mask).value, {}  # of the whole batch

    return Term(loss, (f"{FEATURES}{place}",))


def _learned(told, logits, mask, threshold, name):
    labels, used = pseudo_labels.certain(told, threshold)
    each = jnp.where(used, pseudo_labels.cross_entropy(logits, labels), 0)
    return mean_of(each, mask), {f"{name}/used": mean_of(used.astype(jnp.float32), mask)}
