"""Batch augmentations on the device that mix examples with others of the batch, and labels by the same weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from jtransfer.core.errors import InputError


def mixup(
    key: Key[Array, ""], x: Num[Array, "B ..."], labels: Float[Array, "B ..."], alpha: float
) -> tuple[Float[Array, "B ..."], Float[Array, "B ..."]]:
    """mixup (Zhang et al. 2018, arXiv:1710.09412): each example with its neighbour in the batch, λ ~ Beta(α, α).

    Args:
      key: of λ, one for the batch.
      x: images, vectors or features, of any numeric dtype; the result is floating.
      labels: one-hot or soft labels [B, K], or numbers [B].
      alpha: larger mixes more; positive.

    Returns:
      λ·x + (1 - λ)·x′ for inputs and labels; the neighbour of the first example is the last.
    """
    return _mixup(key, (x, labels), (_neighbours(x), _neighbours(labels)), alpha)


def cutmix(
    key: Key[Array, ""], images: Num[Array, "B H W C"], labels: Float[Array, "B ..."], alpha: float
) -> tuple[Num[Array, "B H W C"], Float[Array, "B ..."]]:
    """CutMix (Yun et al. 2019, arXiv:1905.04899): a box of each image from its neighbour in the batch.

    The box has the area share 1 - λ, λ ~ Beta(α, α), and a uniform centre; it is clipped at the border, and the labels
    are weighted by the pixels that it really covers. One box for the batch; the images keep their dtype.

    Args and neighbour: as in `mixup`.
    """
    return _cutmix(key, (images, labels), (_neighbours(images), _neighbours(labels)), alpha)


def _neighbours(x: Array) -> Array:
    return jnp.roll(x, 1, axis=0)


def _mixup(key: Array, own: tuple[Array, Array], neighbours: tuple[Array, Array], alpha: float) -> tuple[Array, Array]:
    lam = _lambda(key, alpha)
    x, other = (images.astype(jnp.result_type(images, jnp.float32)) for images in (own[0], neighbours[0]))
    return _blend(lam, x, other), _blend(lam, own[1], neighbours[1])


def _cutmix(key: Array, own: tuple[Array, Array], neighbours: tuple[Array, Array], alpha: float) -> tuple[Array, Array]:
    images = own[0]
    height, width = images.shape[1:3]
    of_lambda, of_row, of_column = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _lambda(of_lambda, alpha))
    rows = _interval(of_row, side, height)
    columns = _interval(of_column, side, width)
    box = rows[:, None] & columns[None, :]
    kept = 1 - box.mean(dtype=jnp.float32)
    return jnp.where(box[None, :, :, None], neighbours[0], images), _blend(kept, own[1], neighbours[1])


def _lambda(key: Array, alpha: float) -> Array:
    if not alpha > 0:
        raise InputError(f"mixup and cutmix need alpha > 0, not {alpha}")
    return jax.random.beta(key, alpha, alpha)


def _blend(lam: Array, x: Array, other: Array) -> Array:
    lam = lam.astype(x.dtype)
    return lam * x + (1 - lam) * other


def _interval(key: Array, share: Array, length: int) -> Array:
    """bool [length]: True on a stretch of `share * length` around a uniform centre, clipped."""
    centre = jax.random.randint(key, (), 0, length)
    half = jnp.floor(share * length).astype(jnp.int32) // 2
    places = jnp.arange(length)
    return (places >= centre - half) & (places < centre + half)


def mixer(num_classes: int, mixup: float = 0.0, cutmix: float = 0.0) -> Callable[..., tuple[Array, Array]]:
    """`(key, x, labels) -> (x, soft labels)` that does mixup or CutMix to a batch, either with the same probability.

    Args:
      num_classes: of labels that are classes (int [B]), which become distributions; other labels are mixed as they are.
      mixup, cutmix: alpha of each; 0 is off, and at least one is on.
    """
    kinds = [(fn, alpha) for fn, alpha in ((_mixup, mixup), (_cutmix, cutmix)) if alpha]

    def mix(key: Array, x: Array, labels: Array) -> tuple[Array, Array]:
        choose, draw = jax.random.split(key)
        soft = jax.nn.one_hot(labels, num_classes) if jnp.issubdtype(labels.dtype, jnp.integer) else labels
        branches = [lambda own, others, fn=fn, alpha=alpha: fn(draw, own, others, alpha) for fn, alpha in kinds]
        others = (
            _neighbours(x),
            _neighbours(soft),
        )  # here, for devices exchange them, which in a branch could wait for ever
        return jax.lax.switch(jax.random.randint(choose, (), 0, len(branches)), branches, (x, soft), others)

    return mix
