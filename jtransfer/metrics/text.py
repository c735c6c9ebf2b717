"""Metrics of texts over a whole split, on the host: numbers, several classes, tags, what comes next, translations."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from jtransfer.metrics.classification import per_class, row_parts

Rows = Sequence[Int[np.ndarray, " _"]] | Int[np.ndarray, "N n"]


def matthews(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"], num_classes: int) -> float:
    """Matthews' correlation of two classes or more (R_K, Gorodkin 2004); 0 if one side has a single class."""
    true, chosen = (np.bincount(x, minlength=num_classes).astype(np.float64) for x in (labels, predicted))
    total = true.sum()
    spread = math.sqrt(total**2 - (true**2).sum()) * math.sqrt(total**2 - (chosen**2).sum())
    return float(((predicted == labels).sum() * total - true @ chosen) / spread) if spread else 0.0


def regression(predicted: Float[np.ndarray, " N"], targets: Float[np.ndarray, " N"]) -> Iterator[tuple[str, float]]:
    """Yields `loss` (mean squared error), `mae`, `pearson` and `spearman`; correlation with a constant is 0."""
    predicted, targets = predicted.astype(np.float64), targets.astype(np.float64)
    yield "loss", float(np.square(predicted - targets).mean())
    yield "mae", float(np.abs(predicted - targets).mean())
    yield "pearson", pearson(predicted, targets)
    yield "spearman", pearson(_ranks(predicted), _ranks(targets))


def pearson(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> float:
    """Correlation of two series; 0 if one is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(a @ a) * math.sqrt(b @ b)
    return float(a @ b / scale) if scale else 0.0


def multi_label(logits: Float[np.ndarray, "N C"], labels: Float[np.ndarray, "N C"]) -> Iterator[tuple[str, float]]:
    """Yields `loss` (mean sigmoid cross-entropy, nats), `accuracy` (all classes right), `micro_f1` and `macro_f1`.

    A class is predicted where its logit is above 0, and true where its label is above 1/2. A class that is neither
    predicted nor true has the F1 0 in `macro_f1`, as in scikit-learn.
    """
    losses = [_sigmoid_losses(logits[rows], labels[rows]) for rows in row_parts(logits)]
    yield "loss", float(np.concatenate(losses).mean())
    predicted, true = logits > 0, labels > 0.5
    yield "accuracy", float((predicted == true).all(1).mean())
    both, either = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
    yield "micro_f1", float(2 * both.sum() / max(either.sum(), 1))
    yield "macro_f1", float((2 * both / np.maximum(either, 1)).mean())


def _sigmoid_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over the classes, for each example."""
    logits = logits.astype(np.float64)
    return (np.logaddexp(0, logits) - labels * logits).mean(1)


def tags(predicted: Rows, labels: Rows, class_names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yields `accuracy` and `macro_f1` over tokens, and of entities `entity_precision`, `entity_recall`, `entity_f1`.

    Args:
      predicted: a class for each token of each text, as a row for each text.
      labels: likewise; tokens with -1 are left out.
      class_names: entities are scored if these are `O`, `B-…`, `I-…` (and `E-…`, `S-…`): an entity is right if its
        first token, last token and type are, as in CoNLL's script.
    """
    kept = [label >= 0 for label in labels]
    chosen = [p[mask] for p, mask in zip(predicted, kept, strict=True)]
    true = [label[mask] for label, mask in zip(labels, kept, strict=True)]
    every, all_true = np.concatenate(chosen), np.concatenate(true)
    yield "accuracy", float((every == all_true).mean()) if len(all_true) else 0.0
    occurs = np.union1d(every, all_true)
    yield "macro_f1", float(per_class(every, all_true, len(class_names)).f1[occurs].mean()) if len(all_true) else 0.0
    if not all(name == "O" or name[1:2] == "-" for name in class_names):
        return
    found, wanted = (
        {(i, *span) for i, ids in enumerate(side) for span in spans([class_names[int(k)] for k in ids])}
        for side in (chosen, true)
    )
    right = len(found & wanted)
    yield "entity_precision", right / max(len(found), 1)
    yield "entity_recall", right / max(len(wanted), 1)
    yield "entity_f1", 2 * right / max(len(found) + len(wanted), 1)


def spans(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Entities as (type, first token, last token): `B-` and `S-` begin one, `I-` and `E-` too if none can go on."""
    found: list[tuple[str, int, int]] = []
    last_mark, last_kind = "O", ""
    for i, name in enumerate(names):
        mark, _, kind = name.partition("-")
        if mark != "O":
            if mark in "BS" or last_mark in "OES" or kind != last_kind:
                found.append((kind, i, i))
            else:
                found[-1] = (kind, found[-1][1], i)
        last_mark, last_kind = mark, kind
    return found


def language(losses: Float[np.ndarray, " B"], tokens: Int[np.ndarray, " B"]) -> Iterator[tuple[str, float]]:
    """Yields `loss` (nats a token) and `perplexity` (its exponential), each token of the split counting the same.

    Args:
      losses: sums of the tokens' negative log-likelihoods, one for each text or batch.
      tokens: how many tokens each sum is over.
    """
    loss = float(losses.astype(np.float64).sum() / max(int(tokens.sum()), 1))
    yield "loss", loss
    yield "perplexity", math.exp(loss) if loss < 700 else math.inf


def translation(produced: Sequence[str], references: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yields `bleu` and `chrf` of a whole split, 0 to 100, with sacrebleu's defaults (Post 2018; Popović 2015)."""
    import sacrebleu  # a third of a second, for those who use it

    yield "bleu", sacrebleu.corpus_bleu(list(produced), [list(references)]).score
    yield "chrf", sacrebleu.corpus_chrf(list(produced), [list(references)]).score


def _ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
