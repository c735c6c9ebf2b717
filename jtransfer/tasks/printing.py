"""The predictions for examples that someone gives, as lines of text: what the command `predict` prints.

Each function takes the examples as they were given, the table that the task keeps of them, and the names of the
classes, and yields a line for each example.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

TOP = 5  # classes shown

Table = Mapping[str, np.ndarray]


def classes(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields the most probable classes of each example, with their probabilities."""
    return _best(given, table["probs"], names)


def several(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields the most probable classes of each example, where the probability of each class is independent."""
    return _best(given, each_probability(table), names)


def each_probability(table: Table) -> np.ndarray:
    """Returns the independent probabilities of the classes, float64 [N, C]."""
    return 1 / (1 + np.exp(-table["logits"].astype(np.float64)))


def numbers(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields the predicted number of each example."""
    return _beside(given, (f"{value:.4g}" for value in table["logits"][:, 0]))


def tags(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields the words of each text, each with its class; words that were cut off have "?"."""
    return (" ".join(f"{word}/{name or '?'}" for word, name in words) for words in tagged(given, table, names))


def tagged(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[list[tuple[str, str | None]]]:
    """Yields the words of each text, each with its class; words that were cut off have None."""
    for text, predicted, label in zip(given, table["predicted"], table["label"], strict=True):
        classes: list[str | None] = [names[int(i)] for i in predicted[label >= 0]]
        words = text.split()
        yield list(zip(words, classes + [None] * (len(words) - len(classes)), strict=True))


def neighbours(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields, for each text, the nearest of the other given texts and the cosine similarity of the two."""
    x = table["embeddings"][:, 0].astype(np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    near = x @ x.T - 3 * np.eye(len(x))
    if len(x) == 1:
        return _beside(given, [f"an embedding of {x.shape[1]} numbers; give more texts to compare, or --save them"])
    return _beside(given, (f"{row.max():.3f} {given[row.argmax()]}" for row in near))


def written(given: Sequence[str], table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yields the text that was generated for each example."""
    return iter(table["written"].tolist())


def _best(given: Sequence[str], probs: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    best = (np.argsort(-row, kind="stable")[:TOP] for row in probs)
    shown = ("  ".join(f"{names[i]} {row[i]:.3f}" for i in order) for order, row in zip(best, probs, strict=True))
    return _beside(given, shown)


def _beside(given: Sequence[str], shown: Iterable[str]) -> Iterator[str]:
    width = max(map(len, given))
    return (f"{text:<{width}}  {what}" for text, what in zip(given, shown, strict=True))
