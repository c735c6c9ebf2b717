"""Language modelling: each token of a sequence is predicted from those before it."""

from jtransfer.tasks import answers, columns, printing
from jtransfer.tasks.base import Task
from jtransfer.tasks.tokens import hits, keep_sums, score

LM = Task(
    "lm",
    score,
    label_kinds=(),
    form="causal",
    keep=keep_sums,
    hits=hits,
    by_token=True,
    lines=printing.written,
    columns=columns.written,
    answers=answers.written,
    shown=("perplexity", "loss"),
    generates="more",
)
