"""What a model is trained to do: its loss, what is kept of each example in an evaluation, and the metrics of that.

A task is told by the data where the config leaves it open: by what a label is, and whether there is a target text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jtransfer import metrics
from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities import text
from jtransfer.objectives import counted
from jtransfer.tasks import printing

LESS_IS_BETTER = ("loss", "ece", "mae", "perplexity")
Table = dict[str, np.ndarray]


def _of_text(given: str, classes: int) -> dict:
    """A text, or two with a tab in between."""
    text, tab, pair = given.partition("\t")
    return {"text": text, "label": 0} | ({"text_pair": pair} if tab else {})


class Task(NamedTuple):
    """One task.

    Attributes:
      loss: the name of its usual loss.
      keep: `(logits, labels) -> {name: [B, …]}`, jittable: what is kept of each example of an evaluation.
      score: `(table, class names) -> (name, value)…`: the metrics, from what was kept of all examples.
      metric: the metric that tells a better model, unless the config names another.
      hits: `(logits, labels) -> bool [B] or [B, n]`: which are right; None where no one is right or wrong.
      pipeline: `(tokenizer, length, target_length, decoder's first token) -> TextPipeline`; None for images.
      head: the field `head` of a text encoder; "" where the model has none to choose.
      by_token: labels are of tokens, -1 where there is none.
      example: `(text, number of classes) -> example` of what someone gives to be predicted; it is not asked for images.
      lines: `(given, table, class names) -> lines`: what is printed of that (`printing`).
      shown: the metrics that a report compares, the first of them first; others may be in the log.
      writes: what the model generates: "targets", which an evaluation compares with those wanted, or "more"; or "".
    """

    loss: str
    keep: Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
    score: Callable[[Table, Sequence[str]], Iterator[tuple[str, float]]]
    metric: str = "accuracy"
    hits: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    pipeline: Callable[..., text.TextPipeline] | None = None
    head: str = ""
    by_token: bool = False
    writes: str = ""
    example: Callable[[str, int], dict] = _of_text
    lines: Callable[..., Iterator[str]] = printing.classes
    shown: tuple[str, ...] = ("accuracy", "macro_f1", "loss", "ece")

    def objective(self, loss: Callable) -> Callable:
        """A loss of logits, labels and a mask of examples; tokens without a label do not count."""
        if self.head == "embed":
            return lambda embeddings, labels, mask: loss(_paired(embeddings), labels, mask)
        if not self.by_token:
            return loss
        return lambda logits, labels, mask: loss(logits, jnp.maximum(labels, 0), counted(labels, mask))

    def accuracy(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        """`{"accuracy": float32 []}` over a batch's real examples, or over their tokens; nothing without `hits`."""
        if self.hits is None:
            return {}
        real = counted(labels, mask) if self.by_token else mask
        right = jnp.sum(self.hits(logits, labels) & real)
        return {"accuracy": right / jnp.maximum(jnp.sum(real), 1)}


def choose(name: str, source: Any) -> str:
    """The task called `name`, or what a source's examples are for where the name is empty.

    Raises:
      InputError: no such task, or the examples do not serve it.
    """
    example = source[0]
    name = name or _told(source, example)
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    task = TASKS[name]
    if (task.pipeline is None) != ("image" in example):
        what = "images" if "image" in example else f"texts ({', '.join(example)})"
        raise InputError(f"task={name!r} is not one for {what}")
    needed = {"seq2seq": "target", "embed": "text_pair", "tag": "tokens"}.get(name)
    if needed and needed not in example:
        raise InputError(f"task={name!r} needs examples with {needed!r}; these have {', '.join(example)}")
    kinds = {"classify": "class", "images": "class", "multi_label": "classes", "regress": "number", "tag": "tags"}
    if name in kinds and source.label_kind != kinds[name]:
        raise InputError(f"task={name!r} needs labels of the kind {kinds[name]!r}; these are {source.label_kind!r}")
    return name


def _told(source: Any, example: Mapping) -> str:
    if "image" in example:
        return "images"
    if "target" in example:
        return "seq2seq"
    kinds = {"class": "classify", "classes": "multi_label", "number": "regress", "tags": "tag"}
    return kinds.get(source.label_kind) or ("embed" if "text_pair" in example else "lm")


def _logits(logits, labels):
    return {"logits": logits, "label": labels}


def _paired(embeddings):
    return embeddings.reshape(-1, 2, embeddings.shape[-1])


def _embeddings(embeddings, labels):
    return {"embeddings": _paired(embeddings), "label": labels}


def _tokens(logits, labels):
    """Of each text: the sum of the losses, how many tokens it is over, and how many of them are right."""
    real = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), jnp.maximum(labels, 0))
    right = (jnp.argmax(logits, -1) == labels) & real
    return {"loss": jnp.sum(losses, -1, where=real), "tokens": real.sum(-1), "right": right.sum(-1)}


def _tagged(logits, labels):
    return _tokens(logits, labels) | {"predicted": jnp.argmax(logits, -1), "label": labels}


def _right(logits, labels):
    return jnp.argmax(logits, -1) == labels


def _classes(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    return metrics.classification(table["logits"], table["label"])


def _text_classes(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    yield from _classes(table, names)
    yield "matthews", metrics.matthews(table["logits"].argmax(1), table["label"], table["logits"].shape[1])


def _language(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    yield from metrics.language(table["loss"], table["tokens"])
    yield "accuracy", float(table["right"].sum() / max(table["tokens"].sum(), 1))


def _tags(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    loss = ("loss", float(table["loss"].sum() / max(table["tokens"].sum(), 1)))
    return chain([loss], metrics.tags(table["predicted"], table["label"], names))


def _pairs(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """How often a text's own partner is the nearest of all; where labels say how alike they are, the correlation."""
    a, b = (
        x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in np.moveaxis(table["embeddings"], 1, 0)
    )
    nearest = [(a[i : i + 1024] @ b.T).argmax(1) for i in range(0, len(a), 1024)]
    yield "retrieval", float((np.concatenate(nearest) == np.arange(len(a))).mean())
    if table["label"].dtype.kind == "f":
        yield from (
            (k, v) for k, v in metrics.regression((a * b).sum(1), table["label"]) if k in ("pearson", "spearman")
        )


def _multi_label(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    return metrics.multi_label(table["logits"], table["label"])


def _numbers(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    return metrics.regression(table["logits"][:, 0], table["label"])


def _of_several(given: str, classes: int) -> dict:
    return _of_text(given, classes) | {"label": np.zeros(classes, np.float32)}


def _of_number(given: str, classes: int) -> dict:
    return _of_text(given, classes) | {"label": 0.0}


def _of_words(given: str, classes: int) -> dict:
    words = given.split()
    return {"tokens": words, "label": [0] * len(words)}


def _of_itself(given: str, classes: int) -> dict:
    return {"text": given, "text_pair": given, "label": 0}


def _single(make: Callable) -> Callable:
    return lambda tokenizer, length, target_length, start: make(tokenizer, length)


TASKS = {
    "images": Task("softmax", _logits, _classes, hits=_right),
    "classify": Task("softmax", _logits, _text_classes, hits=_right, pipeline=_single(text.classify), head="classify"),
    "multi_label": Task(
        "sigmoid",
        _logits,
        _multi_label,
        "micro_f1",
        lambda logits, labels: jnp.all((logits > 0) == (labels > 0.5), -1),
        _single(text.classify),
        "classify",
        example=_of_several,
        lines=printing.several,
        shown=("micro_f1", "macro_f1", "accuracy", "loss"),
    ),
    "regress": Task(
        "mse",
        _logits,
        _numbers,
        "spearman",
        pipeline=_single(text.classify),
        head="classify",
        example=_of_number,
        lines=printing.numbers,
        shown=("spearman", "pearson", "mae", "loss"),
    ),
    "tag": Task(
        "softmax",
        _tagged,
        _tags,
        "macro_f1",
        _right,
        _single(text.tag),
        "tag",
        by_token=True,
        example=_of_words,
        lines=printing.tags,
        shown=("entity_f1", "macro_f1", "accuracy", "loss"),
    ),
    "embed": Task(
        "contrastive",
        _embeddings,
        _pairs,
        "retrieval",
        pipeline=_single(text.contrast),
        head="embed",
        example=_of_itself,
        lines=printing.neighbours,
        shown=("retrieval", "spearman"),
    ),
    "seq2seq": Task(
        "softmax",
        _tokens,
        _language,
        "loss",
        _right,
        text.seq2seq,
        by_token=True,
        writes="targets",
        lines=printing.written,
        shown=("chrf", "bleu", "perplexity", "loss"),
    ),
    "lm": Task(
        "softmax",
        _tokens,
        _language,
        "loss",
        _right,
        _single(text.lm),
        by_token=True,
        writes="more",
        lines=printing.written,
        shown=("perplexity", "loss"),
    ),
}
