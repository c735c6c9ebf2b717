"""The predictions for examples that someone gives, as dicts of texts, numbers and lists: what a server answers.

Each function takes the examples as they were given, the table that the task keeps of them, the names of the classes,
and how many classes are wanted, and yields a dict for each example, of which JSON can be made.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.tasks import printing

Table = Mapping[str, np.ndarray]
Answers = Iterator[dict[str, Any]]


def classes(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the most probable class of each example, and the `top_k` most probable ones with their probabilities."""
    for row in table["probs"]:
        best = _best(row, names, top_k)
        yield {"class": best[0]["class"], "probability": best[0]["probability"], "top": best}


def several(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the classes of each example that are more probable than not, and the `top_k` most probable ones."""
    for row in printing.each_probability(table):
        chosen = [names[i] for i in np.flatnonzero(row > 0.5).tolist()]
        yield {"classes": chosen, "top": _best(row, names, top_k)}


def numbers(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the predicted number of each example."""
    return ({"number": float(value)} for value in table["logits"][:, 0])


def tags(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the words of each text, each with its class; words that were cut off have None."""
    for words in printing.tagged(given, table, names):
        yield {"tags": [{"word": word, "class": name} for word, name in words]}


def embeddings(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the embedding of each example."""
    return ({"embedding": row.astype(float).tolist()} for row in table["embeddings"][:, 0])


def written(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the text that was generated for each example."""
    return ({"text": str(text)} for text in table["written"])


def arrays(given: Sequence[str], table: Table, names: Sequence[str], top_k: int) -> Answers:
    """Yields the arrays of each example as lists, for tasks that have no answers of their own."""
    kept = {name: np.asarray(array) for name, array in table.items() if name not in ("label", "index")}
    return ({name: array[i].tolist() for name, array in kept.items()} for i in range(len(given)))


def _best(row: np.ndarray, names: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    order = np.argsort(-row, kind="stable")[:top_k]
    return [{"class": names[i], "probability": float(row[i])} for i in order]
