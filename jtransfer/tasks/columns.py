"""The predictions for examples that someone gives, as columns of a table: what the command `predict` writes.

Each function takes the examples as they were given, the table that the task keeps of them, the names of the classes,
and a number k, and returns the columns by name: a list of N values, or an array [N, …].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Table = Mapping[str, np.ndarray]


def arrays(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns what the table has beside labels and numbers of examples."""
    return {name: array for name, array in table.items() if name not in ("label", "index")}


def classes(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns the k most probable classes and their probabilities, "label", "probability", "label_2", …, and "probs"
    float32 [N, C]."""
    return _best(table["probs"], names, k) | {"probs": table["probs"]}


def several(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns "labels", the classes of a probability of at least a half, and "probs" float32 [N, C]; of k above 1 also
    the k most probable classes, as `classes` does."""
    probs = (1 / (1 + np.exp(-table["logits"].astype(np.float64)))).astype(np.float32)
    labels = [[names[i] for i in np.flatnonzero(row >= 0.5).tolist()] for row in probs]
    return {"labels": labels} | (_best(probs, names, k) if k > 1 else {}) | {"probs": probs}


def numbers(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns "prediction", float32 [N]."""
    return {"prediction": table["logits"][:, 0].astype(np.float32)}


def tags(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns "tags", a list of the classes of the words of each text; words that were cut off have "?"."""
    found = []
    for text, predicted, label in zip(given, table["predicted"], table["label"], strict=True):
        tagged = [names[i] for i in predicted[label >= 0]]
        found.append(tagged + ["?"] * (len(text.split()) - len(tagged)))
    return {"tags": found}


def embeddings(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns "embedding", float32 [N, d]."""
    return {"embedding": table["embeddings"][:, 0].astype(np.float32)}


def written(given: Sequence[str], table: Table, names: Sequence[str], k: int) -> dict[str, Any]:
    """Returns "written", the text that was generated for each example."""
    return {"written": table["written"].tolist()}


def _best(probs: np.ndarray, names: Sequence[str], k: int) -> dict[str, Any]:
    order = np.argsort(-probs, axis=1, kind="stable")[:, :k]
    found: dict[str, Any] = {}
    for place, column in enumerate(order.T):
        after = f"_{place + 1}" if place else ""
        found[f"label{after}"] = [names[i] for i in column]
        found[f"probability{after}"] = np.take_along_axis(probs, column[:, None], 1)[:, 0]
    return found
