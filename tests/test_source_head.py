"""The head of a source, for the classes that it was trained to tell."""

import pytest

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.runs import source


def test_a_model_that_is_made_of_others_has_a_new_one():
    model = models.compose("resnet18", 8, {"name": "mlp", "widths": (8,)}, cut="head", num_classes=3)
    with pytest.raises(InputError, match="compose is made of other models, and its head is new"):
        source.head_of("compose", "weights.safetensors", model, None)
