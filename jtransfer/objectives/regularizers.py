"""Terms that keep training from going astray: parameters stay near to where they began, predictions are steady."""

import jax
import jax.numpy as jnp

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.fields import NotNegative
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import HEAD, check_stream
from jtransfer.objectives.term import TARGET, Context, Term


def l2sp(context: Context, *, shared: str = r"(?!head/).*", new: str = "head/.*", beta: NotNegative = 1.0) -> Term:
    """½ ‖w − w₀‖² of the shared parameters, plus β · ½ ‖w‖² of the new ones: L2-SP (Li et al. 2018, arXiv:1802.01483).

    It is a term of the loss, so that an adaptive optimizer scales it like the rest of the gradient.

    Args:
      context: of the run.
      shared: a regular expression of the parameters that began with the source's values, w₀.
      new: of those that are drawn anew; "" for none.
      beta: their weight.
    """
    table = [(shared, "shared"), *([(new, "new")] if new else []), (".*", "")]

    def loss(view):
        params, initial = view.variables["params"], trees.flatten(view.initial)
        kinds = trees.flatten(rules.match(table, params, name="objective: l2sp"))
        total = jnp.zeros((), jnp.float32)
        for path, now in trees.flatten(params).items():
            if kinds[path]:
                away = now - initial[path] if kinds[path] == "shared" else now
                factor = 0.5 if kinds[path] == "shared" else 0.5 * beta
                total += factor * jnp.square(away.astype(jnp.float32)).sum()
        return total, {}

    return Term(loss, ("initial",))


def rdrop(context: Context, *, stream: str = TARGET) -> Term:
    """The symmetric Kullback–Leibler divergence of two passes with different dropout, of each example: R-Drop (Liang et
    al. 2021, arXiv:2106.14448). It costs a second pass of the model.

    Args:
      context: of the run.
      stream: whose examples.
    """
    check_stream(context, "rdrop", stream)

    def loss(view):
        batch = view.batch[stream]
        first = view.outputs[stream][HEAD]
        second = view.forward(batch["inputs"], view.key)
        log_p, log_q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (first, second))
        each = ((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q)).sum(-1) / 2
        return mean_of(each, batch["mask"]), {}

    return Term(loss)
