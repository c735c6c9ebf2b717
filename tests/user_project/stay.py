"""A term of the objective: the squared distance from the parameters that the run began with."""

import jax
import jax.numpy as jnp

from jtransfer.objectives import Term


def stay(context, *, scale=1.0):
    """A term with the field `scale`."""

    def loss(view):
        pairs = jax.tree.map(lambda now, then: jnp.sum((now - then) ** 2), view.variables["params"], view.initial)
        distance = scale * sum(jax.tree.leaves(pairs))
        return distance, {"distance": distance}

    return Term(loss, needs=("initial",))
