"""Words of texts, weighted by how rare they are (TF-IDF), which a trivial baseline looks at."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.modalities.returned import Plain

_MOST = 20_000  # words
# A sign of a script that has no spaces between words is a word of its own.
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w{2,}")

Texts = Callable[[Mapping[str, Any]], list[str]]


def words(texts: Iterable[str]) -> list[str]:
    """Returns the words of an example's texts, in small letters; those of a second text are other words."""
    return [f"{i}:{word}" for i, text in enumerate(texts) for word in _WORD.findall(text.lower())]


def tfidf(train: Sequence[Sequence[str]], texts: Texts) -> Plain:
    """Returns the words of texts, weighted as scikit-learn's TfidfVectorizer does by default.

    The weight of a word that an example has k times is `k · (1 + log((1 + n) / (1 + df)))`, where `df` of the `n`
    training examples have it, and the weights of an example are divided by their norm.

    Args:
      train: The texts of each training example. The 20,000 words that most of them have are known.
      texts: The texts of any example.
    """
    counts = Counter(word for example in train for word in set(words(example)))
    known = {word: i for i, (word, _) in enumerate(counts.most_common(_MOST))}
    frequency = np.array([counts[word] for word in known], np.float64)
    weights = 1 + np.log((1 + len(train)) / (1 + frequency))

    def features(examples: Sequence[Mapping[str, Any]]) -> Any:
        from scipy import sparse

        found = [Counter(known[word] for word in words(texts(example)) if word in known) for example in examples]
        starts = np.concatenate([[0], np.cumsum([len(one) for one in found])])
        places = np.array([place for one in found for place in one], np.int64)
        numbers = np.array([count for one in found for count in one.values()], np.float64) * weights[places]
        matrix = sparse.csr_matrix((numbers, places, starts), shape=(len(found), len(known)))
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.maximum(norms, 1e-12)) @ matrix)

    return Plain(f"{len(known):,} words (TF-IDF)", features)
