"""Sequence to sequence: a text to generate for each example, such as a translation."""

from jtransfer.tasks import answers, columns, printing
from jtransfer.tasks.base import Task
from jtransfer.tasks.tokens import hits, keep_sums, score

SEQ2SEQ = Task(
    "seq2seq",
    score,
    label_kinds=(),
    form="seq2seq",
    keep=keep_sums,
    hits=hits,
    by_token=True,
    lines=printing.written,
    columns=columns.written,
    answers=answers.written,
    shown=("chrf", "bleu", "perplexity", "loss"),
    sections=("texts",),
    generates="targets",
)
