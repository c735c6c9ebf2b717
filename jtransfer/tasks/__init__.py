"""Tasks: what a model is trained to do. A task is one file, and one entry here; a user's is an address.

The data tell the task where the config leaves it open: by the kind of their labels (`told`), and where they have none,
by what the modality does with such examples.
"""

from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.tasks.base import Table, Task

TASKS = Registry(
    "task",
    {
        "classify": "jtransfer.tasks.classify:CLASSIFY",
        "multi_label": "jtransfer.tasks.multi_label:MULTI_LABEL",
        "regress": "jtransfer.tasks.regress:REGRESS",
        "tag": "jtransfer.tasks.tag:TAG",
        "embed": "jtransfer.tasks.embed:EMBED",
        "seq2seq": "jtransfer.tasks.seq2seq:SEQ2SEQ",
        "lm": "jtransfer.tasks.lm:LM",
    },
    {
        "classify": ("classification", "image_classification", "text_classification", "sequence_classification"),
        "multi_label": ("multi_label_classification",),
        "regress": ("regression",),
        "tag": ("tagging", "ner", "token_classification"),
        "embed": ("embedding", "embeddings", "sentence_similarity"),
        "seq2seq": ("text2text", "text2text_generation", "translation", "summarization"),
        "lm": ("causal_lm", "language_modeling", "text_generation"),
    },
)
USUAL = {"class": "classify", "classes": "multi_label", "number": "regress", "tags": "tag"}  # by kind of label

__all__ = ["TASKS", "USUAL", "Table", "Task", "check", "told"]


def told(source: Any, unlabelled: str) -> str:
    """Returns the name of the task that the labels of a source are for.

    Args:
      source: The examples, a `data.Source`.
      unlabelled: The name of the task for examples without labels.
    """
    return USUAL.get(source.label_kind, unlabelled)


def check(name: str, task: Task, source: Any) -> None:
    """Checks that the labels of a source are of a kind that a task takes.

    Args:
      name: The name of the task.
      task: The task.
      source: The examples, a `data.Source`.

    Raises:
      InputError: They are of another kind.
    """
    if task.label_kinds and source.label_kind not in task.label_kinds:
        kinds = " or ".join(map(repr, task.label_kinds))
        raise InputError(f"task={name!r} needs labels of the kind {kinds}; these are {source.label_kind!r}")
