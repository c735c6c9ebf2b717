"""Terms that bring the features of two domains together by their statistics."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jtransfer.core.fields import Count, Positive
from jtransfer.objectives import mmd as kernels
from jtransfer.objectives import moments
from jtransfer.objectives.seen import domains
from jtransfer.objectives.term import TARGET, Context, Term


def mmd(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    alphas: Sequence[Positive] = kernels.ALPHAS,
) -> Term:
    """The multi-kernel maximum mean discrepancy of a stage's outputs: deep adaptation networks, DAN (`mk_mmd`).

    Args:
      context: of the run.
      source, target: the streams that are compared.
      at: the stage; "" is the one before the head.
      alphas: the widths of the kernels.
    """
    return _distance(context, "mmd", source, target, at, lambda s, t, masks: kernels.mk_mmd(s, t, masks, alphas=alphas))


def jan(
    context: Context,
    *,
    source: str = "source",
    target: str = TARGET,
    at: str = "",
    alphas: Sequence[Positive] = kernels.ALPHAS,
    sigma: Positive = 0.92,
) -> Term:
    """The joint discrepancy of a stage's outputs and of the predictions: joint adaptation networks (`joint_mmd`).

    Args:
      context: of the run.
      source, target, at, alphas: as of `mmd`.
      sigma: the width of the kernel of predictions.
    """
    seen = domains(context, "jan", source, target, at)

    def loss(view):
        (s, t), masks = seen.features(view)
        first, second = (jax.nn.softmax(x.astype("float32")) for x in seen.logits(view))
        layers, widths = [(s, t), (first, second)], [alphas, ()]
        return kernels.joint_mmd(layers, masks, alphas=widths, sigmas=[None, sigma]), {}

    return Term(loss, seen.needs)


def coral(context: Context, *, source: str = "source", target: str = TARGET, at: str = "", means: bool = False) -> Term:
    """The distance of the covariances of a stage's outputs: Deep CORAL.

    Args:
      context: of the run.
      source, target, at: as of `mmd`.
      means: whether the means are compared as well, in the form of the Transfer Learning Library.
    """
    return _distance(context, "coral", source, target, at, moments.mean_coral if means else moments.coral)


def bsp(context: Context, *, source: str = "source", target: str = TARGET, at: str = "", k: Count = 1) -> Term:
    """The greatest squared singular values of both domains' features; beside an adversarial term (`moments.bsp`).

    Args:
      context: of the run.
      source, target, at: as of `mmd`.
      k: how many of each.
    """
    return _distance(context, "bsp", source, target, at, lambda s, t, masks: moments.bsp(s, t, masks, k=k))


def _distance(context: Context, term: str, source: str, target: str, at: str, distance: Callable[..., Any]) -> Term:
    seen = domains(context, term, source, target, at)

    def loss(view):
        (s, t), masks = seen.features(view)
        return distance(s, t, masks), {}

    return Term(loss, seen.needs)
