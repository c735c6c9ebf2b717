"""SAM: the gradient is taken where the loss nearby is the greatest (Foret et al. 2021, arXiv:2010.01412)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def ascend(trained: Any, grads: Any, radius: float) -> Any:
    """Returns `w + ρ · g / ‖g‖`, the point at a distance ρ where the loss, as its gradient has it, is the greatest.

    Args:
      trained: the parameters w.
      grads: the gradient g at w; where it is 0, the point is w.
      radius: ρ.
    """
    norm = optax.tree.norm(grads)
    scale = jnp.where(norm > 0, radius / jnp.where(norm > 0, norm, 1), 0)
    return jax.tree.map(lambda w, g: (w + scale * g).astype(w.dtype), trained, grads)
