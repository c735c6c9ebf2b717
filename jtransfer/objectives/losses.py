"""Task losses: logits and labels → one loss for each example, in float32, and their mean over the real examples.

Labels are classes (int `[B]`) or distributions over classes (float `[B, C]`: mixup, CutMix, distillation). Every loss
takes further leading axes (`[B, T, C]` logits with `[B, T]` labels) as they are.

With class weights w the mean is `Σ w·loss / Σ w` over the real examples, where an example of class y has the weight
`w[y]`: torch's convention. A distribution p has the weight `Σ_c p[c]·w[c]`, which agrees with it on one-hot ones.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import Registry
from jtransfer.layers.types import Array
from jtransfer.objectives.sums import Mean

Labels = Int[Array, "*B"] | Float[Array, "*B C"]


def softmax_cross_entropy(
    logits: Float[Array, "*B C"], labels: Labels, *, label_smoothing: float = 0.0, class_weights=None
) -> Float[Array, "*B"]:
    """`-Σ_c w[c]·t[c]·log softmax(logits)[c]`; t is the label, by `label_smoothing` uniform.

    Args:
      logits: any float dtype; computed in float32.
      labels: classes or distributions.
      label_smoothing: in [0, 1); Szegedy et al. 2016, section 7.
      class_weights: `[C]`, or None for 1.
    """
    if not label_smoothing and _are_classes(labels):
        return _surprise(logits, labels) * _example_weights(logits, labels, class_weights)
    logits = logits.astype(jnp.float32)
    targets = optax.smooth_labels(_distribution(logits, labels), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets * _class_weights(logits, class_weights))


@jax.custom_jvp
def _surprise(logits: Float[Array, "*B C"], labels: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """`-log softmax(logits)[label]`, float32.

    Only the logits are kept for the gradient, in their own dtype, and it is one pass over them. The gradient of a
    logarithm of softmax that is picked by index would be scattered into a float32 array of zeros instead, which for
    the words of a language model is the largest array of a step.
    """
    wide = logits.astype(jnp.float32)
    return jax.nn.logsumexp(wide, axis=-1) - jnp.sum(wide, axis=-1, where=_one_hot(labels, wide))


@_surprise.defjvp
def _surprise_jvp(primals, tangents):
    logits, labels = primals
    loss = _surprise(logits, labels)
    slope = jax.nn.softmax(logits.astype(jnp.float32)) - _one_hot(labels, logits)
    return loss, jnp.sum(slope * tangents[0].astype(jnp.float32), axis=-1)


def _one_hot(labels: Int[Array, "*B"], logits: Float[Array, "*B C"]) -> Bool[Array, "*B C"]:
    return labels[..., None] == jnp.arange(logits.shape[-1])


def sigmoid_cross_entropy(
    logits: Float[Array, "*B C"], labels: Labels, *, label_smoothing: float = 0.0, class_weights=None
) -> Float[Array, "*B"]:
    """C yes-or-no questions an example, averaged over the classes with the weights `class_weights` (`[C]`).

    Args:
      logits: any float dtype; computed in float32.
      labels: classes, or for each class a number between 0 and 1 (several may be 1).
      label_smoothing: moves each answer towards 1/2 by this part of the way.
      class_weights: `[C]`, or None for 1. They share out an example's loss, so that every example counts the same.
    """
    logits = logits.astype(jnp.float32)
    targets = _distribution(logits, labels) * (1 - label_smoothing) + label_smoothing / 2
    weights = _class_weights(logits, class_weights)
    return optax.sigmoid_binary_cross_entropy(logits, targets) @ weights / weights.sum()


def focal(
    logits: Float[Array, "*B C"], labels: Labels, *, gamma: float = 2.0, class_weights=None
) -> Float[Array, "*B"]:
    """`-Σ_c w[c]·t[c]·(1 - p[c])^gamma·log p[c]` with `p = softmax(logits)`: focal loss (Lin et al. 2017).

    Args:
      logits: any float dtype; computed in float32.
      labels: classes or distributions.
      gamma: 0 gives softmax cross-entropy; the greater, the less do easy examples count.
      class_weights: `[C]`, the paper's alpha for each class; None for 1.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    miss = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(jnp.float32).eps)  # gamma < 1 has no slope at 0
    targets = _distribution(logits, labels)
    return -(_class_weights(logits, class_weights) * targets * miss**gamma * log_p).sum(-1)


def mean(
    per_example: Float[Array, "*B"], mask: Bool[Array, "..."] | None = None, weights: Float[Array, "..."] | None = None
) -> Float[Array, ""]:
    """`Σ per_example / Σ weights` over the examples where `mask` is true: what stands under the mask cannot matter.

    Args:
      per_example: losses, already multiplied by their weights.
      mask: False = padding; None for no padding. A batch of padding alone has the mean 0.
      weights: None for 1.
    """
    return mean_of(per_example, mask, weights).value


def mean_of(
    per_example: Float[Array, "*B"], mask: Bool[Array, "..."] | None = None, weights: Float[Array, "..."] | None = None
) -> Mean:
    """`mean` as a sum and a weight, which add up over the parts of a batch; arguments as there."""
    mask = jnp.ones(per_example.shape, bool) if mask is None else mask.astype(bool)
    weights = jnp.ones_like(per_example) if weights is None else weights
    if not per_example.shape == mask.shape == weights.shape:
        raise ValueError(f"losses {per_example.shape}, mask {mask.shape} and weights {weights.shape} differ in shape")
    return Mean(jnp.sum(per_example, where=mask), jnp.sum(weights, where=mask))


def counted(labels: Int[Array, "B n"], mask: Bool[Array, " B"] | None = None) -> Bool[Array, "B n"]:
    """The tokens that a loss is taken over: those with a label (not -1) in real examples."""
    return labels >= 0 if mask is None else (labels >= 0) & mask.astype(bool)[:, None]


LOSSES = Registry(
    "loss",
    {
        "softmax": "jtransfer.objectives.losses:softmax_cross_entropy",
        "sigmoid": "jtransfer.objectives.losses:sigmoid_cross_entropy",
        "focal": "jtransfer.objectives.losses:focal",
        "mse": "jtransfer.objectives.regression:mse",
        "huber": "jtransfer.objectives.regression:huber",
        "contrastive": "jtransfer.objectives.contrastive:contrastive",
    },
    {
        "softmax": (
            "ce",
            "cross_entropy",
            "CrossEntropyLoss",
            "categorical_crossentropy",
            "sparse_categorical_crossentropy",
            "softmax_cross_entropy",
            "log_loss",
            "nll",
        ),
        "sigmoid": (
            "bce",
            "BCELoss",
            "bce_with_logits",
            "BCEWithLogitsLoss",
            "binary_cross_entropy",
            "binary_cross_entropy_with_logits",
            "sigmoid_cross_entropy",
        ),
        "focal": ("focal_loss",),
        "mse": ("MSELoss", "l2", "mean_squared_error", "squared_error"),
        "huber": ("HuberLoss", "smooth_l1", "SmoothL1Loss"),
        "contrastive": ("info_nce", "nt_xent", "contrastive_loss"),
    },
)
SEPARATE = ("softmax", "sigmoid", "focal", "mse", "huber")
"""The losses of which each example has its own, whatever the others of the batch are."""


class Loss(NamedTuple):
    """A loss that is a mean over examples: `loss(logits, labels, mask=None) -> float32 []`.

    Attributes:
      sums: The same as a `Mean`, which adds up over the parts of a batch.
    """

    sums: Callable[..., Mean]

    def __call__(self, logits: Array, labels: Array, mask: Array | None = None) -> Float[Array, ""]:
        """Returns the mean over the real examples."""
        return self.sums(logits, labels, mask).value


def as_sums(loss: Callable) -> Callable:
    """Returns the function to a `Mean` of a loss that is one over examples, and any other loss as it is."""
    return loss.sums if isinstance(loss, Loss) else loss


def create(name: str, **fields) -> Callable[..., Float[Array, ""]]:
    """The objective of a config: `objective(logits, labels, mask=None) -> float32 []`, the mean of the real examples.

    It is a `Loss` if it is known that no example's loss depends on the others, and else, of the contrastive loss and of
    those at addresses, a function.

    Args:
      name: `softmax`, `sigmoid`, `focal`, `mse`, `huber` or `contrastive`, or the address of a function of `logits` and
        `labels` to one loss for each example, with its fields as keyword-only arguments.
      **fields: the loss's own arguments: `label_smoothing`, `gamma`, `class_weights`, `delta`, `temperature`, ….

    Raises:
      InputError: no such loss, or the loss has no such field, or a field's value makes no sense.
    """
    name, loss = LOSSES.canonical(name), LOSSES[name]
    known = [p.name for p in inspect.signature(loss).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for field in fields:
        if field not in known:
            raise unknown(f"field of the loss {name!r}", field, known)
    _check(name, **fields)
    class_weights = fields.get("class_weights") if loss is not sigmoid_cross_entropy else None

    def objective(logits, labels, mask=None):
        weights = None if class_weights is None else _example_weights(logits, labels, class_weights)
        return mean_of(loss(logits, labels, **fields), mask, weights)

    if name in SEPARATE:
        return Loss(objective)
    return lambda logits, labels, mask=None: objective(logits, labels, mask).value


def _check(name: str, label_smoothing: float = 0.0, gamma: float = 0.0, class_weights=None, **positive) -> None:
    if not 0 <= label_smoothing < 1:
        raise InputError(f"loss {name!r}: label_smoothing={label_smoothing} must be in [0, 1)")
    if gamma < 0:
        raise InputError(f"loss {name!r}: gamma={gamma} must not be negative")
    for field, value in positive.items():
        if not isinstance(value, bool) and not 0 < value < float("inf"):
            raise InputError(f"loss {name!r}: {field}={value} must be more than 0")
    if class_weights is not None and not all(0 <= w < float("inf") for w in class_weights):
        raise InputError(f"loss {name!r}: class_weights must be finite and not negative, got {list(class_weights)}")


def _are_classes(labels) -> bool:
    return jnp.issubdtype(labels.dtype, jnp.integer)


def _distribution(logits, labels):
    return jax.nn.one_hot(labels, logits.shape[-1]) if _are_classes(labels) else labels.astype(jnp.float32)


def _class_weights(logits, class_weights):
    num_classes = logits.shape[-1]
    weights = jnp.ones(num_classes) if class_weights is None else jnp.asarray(class_weights, jnp.float32)
    if weights.shape != (num_classes,):
        raise InputError(f"class_weights of shape {weights.shape} for {num_classes} classes; give one number for each")
    return weights


def _example_weights(logits, labels, class_weights):
    """`[*B]`: the weight of each example's class, or the weight that its distribution expects."""
    if class_weights is None:
        return jnp.ones(logits.shape[:-1])
    weights = _class_weights(logits, class_weights)
    return weights[labels] if _are_classes(labels) else labels.astype(jnp.float32) @ weights
