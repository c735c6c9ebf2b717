"""What a modality returns of how texts are written, and of features that know no model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer import generate


class Writing(NamedTuple):
    """How a model generates texts.

    Attributes:
      settings: The settings of the generation.
      inputs: A function from what a user gives to `predict` to the arrays that `generate.generate` takes.
      decoded: A function from generated tokens [n, m] and their lengths [n] to an array of n strings.
    """

    settings: generate.Settings
    inputs: Callable[[Sequence[str]], dict[str, np.ndarray]]
    decoded: Callable[[Any, Any], np.ndarray]


class Plain(NamedTuple):
    """Features of examples that know of no model.

    Attributes:
      words: What they are, such as "pixels".
      of: A function from examples to their features, a matrix [N, d], dense or of `scipy.sparse`.
    """

    words: str
    of: Callable[[Sequence[Mapping[str, Any]]], Any]
