"""Loading: logits equal those of the libraries that the names come from, and nothing is used or left in silence."""

import functools

import jax
import numpy as np
import pytest
import references

from jtransfer import models, weights


@functools.cache
def forward(model):
    return jax.jit(lambda variables, images: model.apply(variables, images))


def build(reference, **fields):
    return models.create(reference.model, references.CLASSES, image_size=reference.size, **reference.fields, **fields)


@pytest.mark.parametrize("case", references.cases())
def test_logits_equal_the_reference(case):
    reference = references.load(case)
    model = build(reference)
    variables, report = weights.load(reference.tensors, model)
    assert not report.reinitialised
    assert {name for name, _ in report.ignored} == {n for n in reference.tensors if n.endswith("num_batches_tracked")}
    logits = forward(model)(variables, reference.images)
    np.testing.assert_allclose(logits, reference.logits, rtol=0, atol=1e-4)
