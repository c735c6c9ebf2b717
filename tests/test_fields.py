"""Fields of pieces are checked by annotations, with bounds where these have them."""

from collections.abc import Sequence
from typing import Annotated

import pytest

from jtransfer.core import fields
from jtransfer.core.errors import InputError
from jtransfer.objectives.terms import TERMS

BOUNDS = fields.Bounds(0, 1, "[)")


@pytest.mark.parametrize(
    ("kind", "holds", "fails", "told"),
    [
        (fields.Positive, (1e-9, 3), (0, 0.0, -1, float("inf"), True, "1", None), "a finite number above 0"),
        (fields.NotNegative, (0, 0.5), (-1e-9,), "a finite number of at least 0"),
        (fields.Count, (1, 5), (0, 1.0, True), "a whole number of at least 1"),
        (Annotated[float, BOUNDS], (0, 0.9), (1, -0.1), "a finite number in [0, 1)"),
        (Sequence[fields.Count], ([1, 2], ()), ([1, 0], 3), "a list, each a whole number of at least 1"),
        (fields.CountOrZero | None, (None, 0), (-1,), "a whole number of at least 0 or None"),
    ],
)
def test_bounds(kind, holds, fails, told):
    assert all(fields.is_of(value, kind) for value in holds)
    assert not any(fields.is_of(value, kind) for value in fails)
    assert fields.told(kind) == told


NUMBERS = {"temperature", "threshold", "widths", "alphas", "sigma", "k", "epsilon", "iterations", "width", "weights"}


@pytest.mark.parametrize("name", TERMS)
def test_what_must_be_above_0_is_told(name):
    """Of every term: a field of these names has no 0."""
    known = fields._kinds(TERMS[name])
    for field in NUMBERS & known.keys():
        zero = (0,) if field in ("widths", "alphas", "weights") else 0
        with pytest.raises(InputError, match=f"{field}=.* of '{name}' is of no kind that it takes; give "):
            fields.check("objective", "objective term", name, TERMS[name], {field: zero}, skip=1)
