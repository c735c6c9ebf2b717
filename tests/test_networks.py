"""Checkpoints as self-supervised and training programs write them: the network that fits is found, and it is said."""

import hostile
import numpy as np
import pytest
import references
from hostile import table
from references import encoders
from safetensors.numpy import save_file

from jtransfer import config as configs
from jtransfer import convert, models, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import build, initialize
from jtransfer.weights import formats
from jtransfer.weights import plan as plans
from jtransfer.weights.formats import conventions
from jtransfer.weights.shapes import abstract

MODEL = models.create("resnet18", num_classes=references.CLASSES, depths=(1, 1, 1, 1), image_size=32)
WHOLE = {
    name: tensor
    for name, tensor in references.load("resnet18_torchvision").tensors.items()
    if not name.startswith(("layer1.1", "layer2.1", "layer3.1", "layer4.1"))
}
BODY = {name: tensor for name, tensor in WHOLE.items() if not name.startswith("fc.")}
BLOCK = references.Filled("block", (3, 3), 1.0)
MLP = {f"fc.{name}": BLOCK for name in ("0.weight", "0.bias", "2.weight", "2.bias")}


def put(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def plan(tensors, model=MODEL, **options):
    asked = {"reinit": (), "adapt": False, "classes": None, "source_image_size": None} | options
    return plans.make("file.pth", tensors, model, abstract(model), **asked)


LAYOUTS = {  # tensors → the prefix that is taken, whether the head is there, what is said
    "Lightning": (put("model.", WHOLE) | {"criterion.weight": BLOCK, "train_acc.n": BLOCK}, "model", True, "left out"),
    "Lightning, DDP inside": (put("net.module.", WHOLE) | {"loss.w": BLOCK}, "net.module", True, "left out"),
    "Lightly": (put("backbone.", BODY) | put("projection_head.layers.", MLP), "backbone", False, "left out"),
    "SimSiam": (put("encoder.", BODY | MLP) | {"predictor.0.weight": BLOCK}, "encoder", False, "left out"),
    "MoCo": (
        put("encoder_q.", BODY | MLP) | put("encoder_k.", BODY | MLP) | {"queue": BLOCK, "queue_ptr": BLOCK},
        "encoder_q",
        False,
        "took the network 'encoder_q'; beside it: 'encoder_k' (name one, as SOURCE:encoder_k)",
    ),
    "MoCo v3": (
        put("base_encoder.", BODY | MLP) | put("momentum_encoder.", BODY | MLP) | {"predictor.0.weight": BLOCK},
        "base_encoder",
        False,
        "beside it: 'momentum_encoder'",
    ),
    "BYOL": (
        put("online_network.encoder.", BODY) | put("target_network.encoder.", BODY),
        "online_network.encoder",
        False,
        "beside it: 'target_network.encoder'",
    ),
    "BYOL, three copies": (
        put("net.", WHOLE) | put("online_encoder.net.", WHOLE) | put("target_encoder.net.", WHOLE),
        "online_encoder.net",
        True,
        "beside it: ",
    ),
    "DINO": (put("student.backbone.", BODY) | put("teacher.backbone.", BODY), "teacher.backbone", False, "student"),
    "Lightly's DINO": (
        put("student_backbone.", BODY) | put("teacher_backbone.", BODY),
        "teacher_backbone",
        False,
        "'student_backbone'",
    ),
    "solo-learn": (put("backbone.", BODY) | put("momentum_backbone.", BODY), "backbone", False, "momentum_backbone"),
    "an average": (put("ema_model.", WHOLE) | put("online_model.", WHOLE), "ema_model", True, "online_model"),
    "any name": (put("feature_extractor.cnn.", BODY) | {"neck.weight": BLOCK}, "feature_extractor.cnn", False, "left"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_the_network_that_fits_is_taken_and_said(case):
    tensors, prefix, head, said = LAYOUTS[case]
    found = plan(tensors)
    assert found.prefix == prefix
    assert len(found.notes) == 1
    assert said in found.notes[0]
    filled = {path for assignment in found.match.assignments for path in assignment.param_paths}
    assert filled >= {path for path in found.params if not path.startswith("head/")}
    assert found.drawn == {} if head else set(found.drawn) == {"head/dense/kernel", "head/dense/bias"}
    used = {f"{prefix}.{name}" for assignment in found.match.assignments for name in assignment.source_names}
    taken = {id(tensors[name]) for name in used}
    assert taken == {id(tensor) for name, tensor in (WHOLE if head else BODY).items() if "num_batches" not in name}
    named = dict(plans.ignored(found, tensors))
    assert set(tensors) - used <= set(named) | {f"{prefix}.{name}" for name in named}


def test_equal_networks_without_a_convention_are_refused_with_the_choices():
    with pytest.raises(InputError, match=r"2 networks that fit; name one: file\.pth:left or file\.pth:right"):
        plan(put("left.", BODY) | put("right.", BODY))


def test_a_whole_network_with_something_beside_it_is_not_cut_down():
    with pytest.raises(InputError, match=r'left out by ignore=\["aux\\\.weight"\]\n \+ aux\.weight float32\[3, 3\]'):
        plan(WHOLE | {"aux.weight": BLOCK})
    with pytest.raises(InputError, match=r"(?s)^file\.pth:model does not fit ResNet .*1 problems .* \+ aux\.weight"):
        plan(put("model.", WHOLE | {"aux.weight": BLOCK}))


@pytest.mark.parametrize(
    ("names", "preferred"),
    [
        (("encoder_k", "encoder_q"), "encoder_q"),
        (("key_encoder", "query_encoder"), "query_encoder"),
        (("student", "teacher"), "teacher"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model", "model_ema"), "model_ema"),
        (("params", "params_ema"), "params_ema"),
        (("model", "ema/module"), "ema/module"),
        (("model", "attacker.model"), "model"),
        (("backbone", "backbone_momentum"), "backbone"),
        (("encoder", "target_encoder"), None),
        (("generator", "discriminator"), None),
        (("model", "net"), None),
        (("student_ema", "teacher"), "student_ema"),
    ],
)
def test_conventions(names, preferred):
    assert conventions.prefer(names) == conventions.prefer(names[::-1]) == preferred


def state(*names):
    return table(**{name: hostile.tensor() for name in names or ("a", "b")})


def opened(tmp_path, body, branch=""):
    (tmp_path / "x.pth").write_bytes(hostile.torch_zip(body))
    return formats.open(f"{tmp_path / 'x.pth'}{branch}")


@pytest.mark.parametrize(
    ("wrappers", "taken"),
    [
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model", "model_ema"), "model_ema"),
        (("teacher", "student"), "teacher"),
        (("model", "ema_model"), "ema_model"),
        (("online_network", "target_network"), "online_network"),
    ],
)
def test_of_several_state_dicts_the_fields_convention_or_the_named_one(wrappers, taken, tmp_path):
    body = table(**{wrapper: state(f"{wrapper}.a", f"{wrapper}.b") for wrapper in wrappers})
    found = opened(tmp_path, body)
    assert set(found) == {f"{taken}.a", f"{taken}.b"}
    (note,) = found.notes
    assert f"took the network {taken!r}; beside it: " in note
    for wrapper in wrappers:
        assert set(opened(tmp_path, body, f":{wrapper}")) == {f"{wrapper}.a", f"{wrapper}.b"}
        assert set(opened(tmp_path, body, f":{wrapper}/{wrapper}")) == {"a", "b"}


def test_state_dicts_of_other_names_are_refused_until_one_is_named(tmp_path):
    body = table(generator=state("g.a"), discriminator=state("d.a"))
    with pytest.raises(InputError, match=r"state dicts: 'generator', 'discriminator'; name one, as .*:generator"):
        opened(tmp_path, body)
    assert list(opened(tmp_path, body, ":discriminator")) == ["d.a"]


def test_a_few_tensors_beside_a_state_dict_are_no_second_one(tmp_path):
    body = table(model=state("a", "b", "c"), ema=state("decay"))
    assert list(opened(tmp_path, body)) == ["a", "b", "c"]
    assert opened(tmp_path, body).notes == ()


@pytest.mark.parametrize(
    ("names", "stripped", "off"),
    [
        (("module.a.w", "module.b.w"), ("a.w", "b.w"), ("module.",)),
        (("n_averaged", "module.a.w"), ("n_averaged", "a.w"), ("module.",)),
        (("_orig_mod.a.w", "_orig_mod.b"), ("a.w", "b"), ("_orig_mod.",)),
        (("module._orig_mod.a.w",), ("a.w",), ("_orig_mod.", "module.")),
        (("_orig_mod.module.a.w",), ("a.w",), ("_orig_mod.", "module.")),
        (("_fsdp_wrapped_module.l._fsdp_wrapped_module.w",), ("l.w",), ("_fsdp_wrapped_module.",)),
        (("l.0._checkpoint_wrapped_module.w", "l.1.w"), ("l.0.w", "l.1.w"), ("_checkpoint_wrapped_module.",)),
        (("module.a.w", "b.w"), ("module.a.w", "b.w"), ()),
        (("module.a", "a"), ("module.a", "a"), ()),
        (("a._orig_mod.w", "a.w"), ("a._orig_mod.w", "a.w"), ()),
    ],
)
def test_what_wrapping_puts_into_names_is_taken_off_in_any_order(names, stripped, off, tmp_path):
    assert (tuple(opened(tmp_path, state(*names))), opened(tmp_path, state(*names)).unwrapped) == (stripped, off)
    save_file({name: np.zeros(1) for name in names}, tmp_path / "x.safetensors")
    assert set(formats.open(tmp_path / "x.safetensors")) == set(stripped)


def test_a_prefix_that_was_taken_off_can_be_named(tmp_path):
    names = state("n_averaged", "module.a.w")
    assert list(opened(tmp_path, names, ":module")) == ["a.w"]
    assert list(opened(tmp_path, names, ":module.a")) == list(opened(tmp_path, names, ":a")) == ["w"]


def test_restore_tells_the_model_and_the_network():
    tensors = references.load("resnet18_torchvision").tensors
    moco = put("encoder_q.", tensors) | put("encoder_k.", tensors) | {"queue": BLOCK}
    model, _, report = weights.restore(moco, place=lambda path, leaf: leaf.shape)
    assert (model.depths, report.reinitialised) == ((2, 2, 2, 2), ())
    assert report.notes[0] in str(report)
    assert dict(report.ignored)["queue"] == "beside encoder_q"


def test_a_network_within_the_network_that_fits_is_no_second_one(masked_lm):
    tensors = weights.open(masked_lm).tensors
    body = {name: tensor for name, tensor in tensors.items() if name.startswith("bert.") and ".pooler." not in name}
    model = weights.describe(masked_lm, head="classify", num_classes=3).model
    found = plan(put("net.", body) | {"loss.weight": BLOCK}, model)
    assert found.prefix == "net"
    assert found.notes == ("took the network 'net', and left out what is beside it",)


def test_what_is_asked_for_is_ignored_and_named():
    extra = WHOLE | {"aux.weight": BLOCK, "aux.bias": BLOCK}
    _, report = weights.load(extra, MODEL, ignore=["aux.*"], place=lambda path, leaf: leaf.shape)
    assert {name for name, why in report.ignored if why == "asked to ignore"} == {"aux.weight", "aux.bias"}
    assert (
        weights.open(weights.open(extra, ignore=["aux.weight"]), ignore=[r"aux\.bias"]).tensors.keys() == WHOLE.keys()
    )
    for pattern, says in (("aux", "matches no tensor; nearest: aux"), ("(", "is not a regular expression")):
        with pytest.raises(InputError, match=f"ignore: .*{says}"):
            weights.load(extra, MODEL, ignore=[pattern])
    with pytest.raises(InputError, match=r"must be a list of patterns, as \['queue'\]"):
        weights.open(extra, ignore="queue")


def test_convert_and_a_run_ignore_too(tmp_path, capsys):
    tensors = {name: tensor.read() for name, tensor in references.load("convnext_timm_75").tensors.items()}
    fields = references.load("convnext_timm_75").fields
    save_file(tensors | {"queue": np.zeros(3)}, tmp_path / "x.safetensors")
    source = str(tmp_path / "x.safetensors")
    with pytest.raises(SystemExit):
        run_command(convert.main, ["convert", source, str(tmp_path / "new"), "--ignore=quene"])
    assert "ignore: pattern 'quene' matches no tensor; nearest: queue" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    model = models.create("convnext_tiny", references.CLASSES, **fields)
    assert weights.load(source, model, ignore=["queue"], place=lambda path, leaf: None)[1].reinitialised == ()
    config = configs.default()
    assert config.ignore == ()
    assert "queue" not in initialize.open(source, ("queue",)).tensors
    config.ignore = ("queue",)
    with pytest.raises(InputError, match="init is 'scratch'; leave it empty"):
        build.prepare(config, tmp_path / "run")


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory):
    return encoders.write("bert_masked_lm", tmp_path_factory.mktemp("bert"))


def test_a_masked_lm_becomes_a_classifier_and_what_it_lacks_and_has_too_much_is_named(masked_lm):
    _, _, report = weights.restore(masked_lm, head="classify", num_classes=3, place=lambda path, leaf: None)
    assert dict(report.reinitialised) == {
        "head/dense/kernel": "the source has no head",
        "head/dense/bias": "the source has no head",
        "pool/dense/kernel": "the source has no pooler",
        "pool/dense/bias": "the source has no pooler",
    }
    others = {name for name, why in report.ignored if why == "of another head"}
    assert "cls.predictions.transform.dense.weight" in others
    assert {name.split(".")[0] for name in others} == {"cls"}


@pytest.mark.live
def test_transformers_draws_the_same_anew_and_leaves_the_same_out(masked_lm):
    import torchvision_stubs  # noqa: F401
    import transformers

    theirs = transformers.BertForSequenceClassification
    _, told = theirs.from_pretrained(masked_lm, num_labels=3, output_loading_info=True)
    names = ("classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias")
    assert set(told["missing_keys"]) == set(names)
    assert {name.split(".")[0] for name in told["unexpected_keys"]} == {"cls"}


def test_an_embedding_is_not_pooled_by_noise(masked_lm):
    with pytest.raises(InputError, match=r" - pool/dense/bias"):
        weights.restore(masked_lm, head="embed", pooling="pooler")


def test_a_head_that_was_made_for_tokens_is_not_put_behind_a_new_pooler(tmp_path):
    folder = encoders.write("bert_tag", tmp_path)
    spec = weights.describe(folder)
    model = weights.describe(folder, head="classify", num_classes=spec.model.num_classes).model
    found = plan(weights.open(folder).tensors, model)
    assert set(found.drawn) == {"head/dense/kernel", "head/dense/bias", "pool/dense/kernel", "pool/dense/bias"}


def test_a_decoder_of_masked_images_is_left_out_and_layers_of_a_model_never_are():
    vit = references.load("vit_timm_32")
    tensors, model = dict(vit.tensors), models.create(vit.model, references.CLASSES, image_size=32, **vit.fields)
    pretrained = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    extra = {"mask_token": BLOCK, "decoder_pos_embed": BLOCK, "decoder_blocks.0.norm1.weight": BLOCK}
    found = plan(pretrained | extra, model)
    assert set(found.drawn) == {"head/dense/kernel", "head/dense/bias"}
    assert set(dict(plans.ignored(found, pretrained | extra))) >= set(extra)
    with pytest.raises(InputError, match=r" \+ blocks\.9\.norm1\.weight"):
        plan(pretrained | {"blocks.9.norm1.weight": BLOCK}, model)


def test_a_wrong_pair_is_answered_with_what_the_weights_are():
    tensors = references.load("resnet18_torchvision").tensors
    model = models.create("vit_base_patch16", 3, depth=2, width=32, num_heads=2, mlp_dim=64, patch=8, image_size=32)
    for source in (tensors, put("encoder_q.", tensors)):
        with pytest.raises(InputError) as caught:
            plan(source, model)
        lines = str(caught.value).splitlines()
        assert len(lines) <= 15
        assert "the weights are of resnet18, num_classes=10 (torchvision names)" in lines[1]
        assert 'config.model.name = "resnet18"' in lines[2]
    with pytest.raises(InputError) as caught:
        plan({f"unheard.{i}.of": BLOCK for i in range(300)}, model)
    assert len(str(caught.value).splitlines()) <= 15
    assert "unheard.0.of" in str(caught.value)
