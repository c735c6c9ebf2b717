"""Metrics of texts equal scikit-learn's, scipy's and sacrebleu's; entities are those of CoNLL's rules."""

import math
import warnings

import numpy as np
import pytest
import sacrebleu
import scipy.stats
from sklearn import metrics

from jtransfer.metrics import text
from jtransfer.tasks import printing

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_matthews_is_that_of_scikit_learn(num_classes, noise):
    labels = RNG.integers(0, num_classes, 200)
    predicted = np.where(RNG.random(200) < noise, RNG.integers(0, num_classes, 200), labels)
    expected = metrics.matthews_corrcoef(labels, predicted)
    np.testing.assert_allclose(text.matthews(predicted, labels, num_classes), expected, atol=1e-12)


def test_matthews_of_one_class_is_0():
    assert text.matthews(np.zeros(5, int), np.arange(5) % 2, 2) == 0
    assert text.matthews(np.zeros(5, int), np.zeros(5, int), 2) == 0


def test_correlations_are_those_of_scipy():
    targets = RNG.integers(0, 6, 100).astype(np.float32)
    predicted = (targets + RNG.integers(-2, 3, 100)).astype(np.float32) * 3 - 1
    found = dict(text.regression(predicted, targets))
    assert list(found) == ["loss", "mae", "pearson", "spearman"]
    np.testing.assert_allclose(found["pearson"], scipy.stats.pearsonr(predicted, targets)[0], rtol=1e-6)
    np.testing.assert_allclose(found["spearman"], scipy.stats.spearmanr(predicted, targets)[0], rtol=1e-12)
    np.testing.assert_allclose(found["loss"], metrics.mean_squared_error(targets, predicted), rtol=1e-6)
    np.testing.assert_allclose(found["mae"], metrics.mean_absolute_error(targets, predicted), rtol=1e-6)
    constant = dict(text.regression(np.ones(9), np.arange(9.0)))
    assert (constant["pearson"], constant["spearman"]) == (0, 0)


def test_several_labels_are_scored_as_in_scikit_learn():
    labels = (RNG.random((50, 4)) < [0.1, 0.5, 0.9, 0.0]).astype(np.float32)
    logits = (RNG.standard_normal((50, 4)) + 2 * labels - [1, 1, 1, 50]).astype(np.float32)
    found = dict(text.multi_label(logits, labels))
    predicted = logits > 0
    for average in ("micro", "macro"):
        expected = metrics.f1_score(labels, predicted, average=average, zero_division=0)
        np.testing.assert_allclose(found[f"{average}_f1"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["accuracy"], metrics.accuracy_score(labels, predicted))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -np.where(labels > 0.5, np.log(p), np.log1p(-p)).mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    extreme = dict(text.multi_label(np.float32([[1000, -1000]]), np.float32([[1, 0]])))
    assert (extreme["loss"], extreme["macro_f1"]) == (0, 0.5)


def test_tokens_are_scored_where_they_have_a_label():
    names = ["x", "y", "z"]
    labels = [RNG.integers(-1, 3, n) for n in (5, 9, 1, 0)]
    predicted = [RNG.integers(0, 3, len(label)) for label in labels]
    found = dict(text.tags(predicted, labels, names))
    a, b = np.concatenate(predicted), np.concatenate(labels)
    a, b = a[b >= 0], b[b >= 0]
    assert list(found) == ["accuracy", "macro_f1"]
    np.testing.assert_allclose(found["accuracy"], metrics.accuracy_score(b, a))
    np.testing.assert_allclose(found["macro_f1"], metrics.f1_score(b, a, average="macro"))
    assert dict(text.tags([np.zeros(2, int)], [np.full(2, -1)], names)) == {"accuracy": 0, "macro_f1": 0}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("O B-X I-X O B-X", [("X", 1, 2), ("X", 4, 4)]),
        ("B-X B-X I-X", [("X", 0, 0), ("X", 1, 2)]),
        ("I-X I-X O I-Y", [("X", 0, 1), ("Y", 3, 3)]),
        ("B-X I-Y I-Y", [("X", 0, 0), ("Y", 1, 2)]),
        ("B-X I-X E-X I-X S-X S-X", [("X", 0, 2), ("X", 3, 3), ("X", 4, 4), ("X", 5, 5)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_begin_and_end_by_conll_rules(names, expected):
    assert text.spans(names.split()) == expected


def test_entities_are_right_as_a_whole():
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    labels = [np.array([1, 2, 0, 3, -1]), np.array([1, -1, 2])]
    predicted = [np.array([1, 2, 0, 1, 3]), np.array([1, 0, 0])]
    found = dict(text.tags(predicted, labels, names))
    assert found["entity_precision"] == pytest.approx(1 / 3)  # of (PER 0-1), (PER 3), (PER 0)
    assert found["entity_recall"] == pytest.approx(1 / 3)  # of (PER 0-1), (LOC 3), (PER 0-1)
    assert found["entity_f1"] == pytest.approx(1 / 3)
    nothing = dict(text.tags([np.zeros(2, int)], [np.zeros(2, int)], names))
    assert (nothing["accuracy"], nothing["entity_f1"]) == (1, 0)


def test_perplexity_counts_tokens_alike():
    found = dict(text.language(np.float32([2.0, 30.0]), np.array([1, 15])))
    assert found == {"loss": 2.0, "perplexity": pytest.approx(math.exp(2))}
    assert dict(text.language(np.array([1e6]), np.array([1])))["perplexity"] == math.inf
    assert dict(text.language(np.zeros(1), np.zeros(1, int))) == {"loss": 0.0, "perplexity": 1.0}


def test_translations_are_scored_by_sacrebleu():
    references = ["The dog jumps over the lazy fox.", "A model is a chain of stages.", "Häuser stehen hier."]
    produced = ["The dog jumped over the lazy fox.", "A model is a chain of stages.", "Haus hier"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dict(text.translation(produced, references))
        perfect = dict(text.translation(references, references))
    assert found["bleu"] == sacrebleu.BLEU().corpus_score(produced, [references]).score
    assert found["chrf"] == sacrebleu.CHRF().corpus_score(produced, [references]).score
    assert 0 < found["bleu"] < 100
    assert perfect == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}


def test_words_have_their_tags_and_those_cut_off_have_none():
    table = {"predicted": np.array([[0, 1, 1, 0], [1, 0, 0, 1]]), "label": np.array([[-1, 0, 0, -1], [-1, 0, -1, 0]])}
    found = list(printing.tags(["the dog runs", "a dog"], table, ["O", "B"]))
    assert found == ["the/B dog/B runs/?", "a/O dog/B"]


def test_a_text_has_the_nearest_other_one_beside_it():
    given, x = ["the dog", "a dog", "tea"], np.array([[2.0, 0], [3, 1], [0, 1]])
    table = {"embeddings": np.stack([x, x], 1)}
    found = [line.split(maxsplit=2)[-1] for line in printing.neighbours(["A", "B", "C"], table, [])]
    assert found == ["B", "A", "B"]
    assert next(printing.neighbours(given, table, [])).split() == ["the", "dog", "0.949", "a", "dog"]
    (alone,) = printing.neighbours(given[:1], {"embeddings": np.ones((1, 2, 5))}, [])
    assert "an embedding of 5 numbers" in alone


def test_probable_classes_come_first_and_need_not_sum_to_one():
    (line,) = printing.several(["x"], {"logits": np.array([[-9.0, 3.0, 2.0]])}, ["a", "b", "c"])
    assert line == "x  b 0.953  c 0.881  a 0.000"
