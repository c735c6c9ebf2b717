"""Terms that look at no label: predictions that are certain, diverse and not confused, features that are longer."""

from jtransfer.core.fields import Count, NotNegative, Positive
from jtransfer.objectives import confusion, moments
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import check_stream, predicted, stage, vectors
from jtransfer.objectives.term import FEATURES, TARGET, Context, Term


def mcc(context: Context, *, stream: str = TARGET, temperature: Positive = 2.5) -> Term:
    """Minimum class confusion (`confusion.minimum_class_confusion`).

    Args:
      context: of the run.
      stream: of the unlabelled examples.
      temperature: the logits are divided by it.
    """
    check_stream(context, "mcc", stream)

    def loss(view):
        logits, mask = predicted(view, stream)
        return confusion.minimum_class_confusion(logits, mask, temperature=temperature), {}

    return Term(loss)


def entropy(context: Context, *, stream: str = TARGET) -> Term:
    """The mean entropy of the predictions (Grandvalet & Bengio 2004); of the batch's statistics alone it is TENT's."""
    check_stream(context, "entropy", stream)

    def loss(view):
        logits, mask = predicted(view, stream)
        return mean_of(confusion.entropy(logits), mask), {}

    return Term(loss)


def infomax(context: Context, *, stream: str = TARGET) -> Term:
    """The mean entropy of the predictions less the entropy of their mean: information maximization, SHOT-IM (Liang et
    al. 2020, arXiv:2002.08546)."""
    check_stream(context, "infomax", stream)

    def loss(view):
        logits, mask = predicted(view, stream)
        return -confusion.information(logits, mask), {}

    return Term(loss)


def bnm(context: Context, *, stream: str = TARGET) -> Term:
    """Batch nuclear-norm maximization: the negative of `confusion.nuclear_norm`."""
    check_stream(context, "bnm", stream)

    def loss(view):
        logits, mask = predicted(view, stream)
        return -confusion.nuclear_norm(logits, mask), {}

    return Term(loss)


def afn(
    context: Context, *, streams: tuple[str, ...] = ("source", TARGET), at: str = "", delta: NotNegative = 1.0
) -> Term:
    """Adaptive feature norm: the features of all streams become longer (`moments.feature_norm`).

    Args:
      context: of the run.
      streams: whose features.
      at: the stage; "" is the one before the head.
      delta: by how much.
    """
    place = stage(context, "afn", at)
    for name in streams:
        check_stream(context, "afn", name)

    def loss(view):
        each = [
            mean_of(moments.feature_norm(vectors(view, name, place), delta=delta), view.batch[name]["mask"])
            for name in streams
        ]
        return each, {}

    return Term(loss, (f"{FEATURES}{place}",))


def bss(context: Context, *, stream: str = TARGET, at: str = "", k: Count = 1) -> Term:
    """Batch spectral shrinkage: the k smallest squared singular values of the features (`moments.bss`).

    Args:
      context: of the run.
      stream: whose features.
      at: the stage; "" is the one before the head.
      k: how many.
    """
    check_stream(context, "bss", stream)
    place = stage(context, "bss", at)
    return Term(
        lambda view: (moments.bss(vectors(view, stream, place), view.batch[stream]["mask"], k=k), {}),
        (f"{FEATURES}{place}",),
    )
