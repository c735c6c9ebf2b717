"""The cached prefix gives what the whole model gives."""

import jax
import numpy as np
import pytest
import small
import tiny_vectors

from jtransfer import train
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.features import prefix
from jtransfer.runs import log
from jtransfer.training import step


def batches(images):
    for first in range(0, len(images), 4):
        rows = np.arange(first, first + 4)
        real = rows < len(images)
        yield {
            "inputs": images[np.minimum(rows, len(images) - 1)],
            "label": rows,
            "index": np.where(real, rows, -1),
            "mask": real,
        }


@pytest.mark.parametrize("family", small.MODELS)
@pytest.mark.parametrize("spec", ["head/.*", 2])
def test_features_then_the_rest_is_the_model(family, spec):
    model, variables = small.model_of(family), small.variables_of(family)
    mask = rules.trainable(spec, variables["params"], model.stages)
    stage = prefix.first_trained(mask, model.stages)
    assert stage == ("head" if spec == "head/.*" else {"resnet": "stage4", "vgg": "fc", "lite": "conv_head"}[family])
    images = np.asarray(small.batch_of(6)["inputs"])
    cached, labels = prefix.extract(jax.jit(step.make_eval_step(model, stop=stage)), variables, batches(images))
    np.testing.assert_array_equal(labels, np.arange(6))
    rest = jax.jit(step.make_eval_step(model, start=stage))(variables, {"inputs": cached})["logits"]
    whole = jax.jit(step.make_eval_step(model))(variables, {"inputs": images})["logits"]
    np.testing.assert_allclose(rest, whole, atol=1e-5)


def test_nothing_frozen_is_nothing_to_cache():
    mask = {"stem": {"kernel": True}, "head": {"kernel": True}}
    with pytest.raises(InputError, match="no stage is frozen before 'stem'"):
        prefix.first_trained(mask, ("stem", "pool", "head"))


def test_vectors_are_standardised_before_the_prefix_and_not_after_it(tmp_path):
    """A run whose prefix is cached has the log of one that computes it at every step."""
    lines = []
    for cache in (False, True):
        config = tiny_vectors.config_of(tmp_path, trainable="head/.*", cache=cache)
        config.model.fields.widths = (6, 6)  # as wide as the vectors
        train.run(config, tmp_path / str(cache))
        lines.append([line for line in log.read(tmp_path / str(cache)) if line.get("split")])
    for plain, cached in zip(*lines, strict=True):
        assert cached["loss"] == pytest.approx(plain["loss"], rel=1e-5)
