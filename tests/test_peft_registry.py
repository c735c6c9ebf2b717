"""Every family of the package × every method: a step trains adapters alone, what is merged computes the same."""

import functools

import adapted
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.peft import slots
from jtransfer.training import state

IMAGE = {"image_size": 32}
SIZE = {"width": 16, "num_heads": 2, "mlp_dim": 24}
TEXT = {**SIZE, "vocab_size": 31, "depth": 2, "max_length": 80}
PAIR = {**SIZE, "depth": 1, "patch": 16, "vocab_size": 31, "max_length": 80, "projection": 8, **IMAGE}
FAMILIES = {  # family → (name, fields, the stage before which it ends)
    "resnet": ("resnet18", {"depths": (1, 1), "widths": (8, 16), **IMAGE}, None),
    "vgg": ("vgg11_bn", {"width": 8, "head_width": 16, **IMAGE}, None),
    "efficientnet": ("efficientnet_lite0", {"depth": 0.1, "width": 0.25, **IMAGE}, "stage3"),
    "convnext": ("convnext_tiny", {"depths": (2, 1), "widths": (8, 16), **IMAGE}, None),
    "mobilenet_v2": ("mobilenet_v2", {"width": 0.25, **IMAGE}, "stage3"),
    "mobilenet_v3": ("mobilenet_v3_small", IMAGE, "stage3"),
    "densenet": ("densenet121", {"depths": (3, 2), "growth": 8, "features": 8, **IMAGE}, None),
    "vit": ("vit_base_patch16", {**SIZE, "depth": 2, "patch": 16, **IMAGE}, None),
    "clip": ("clip_base_patch32", {**PAIR, **{f"text_{k}": v for k, v in {**SIZE, "depth": 1}.items()}}, None),
    "swin": ("swin_tiny", {"depths": (2, 2), "width": 8, "num_heads": (1, 2), "window": 3, **IMAGE}, None),
    "gpt2": ("gpt2", TEXT, None),
    "llama": ("llama2_7b", {**TEXT, "num_kv_heads": 1, "head_dim": 8}, None),
    "t5": ("t5_small", {**SIZE, "vocab_size": 31, "depth": 1, "head_dim": 8}, None),
    "bart": ("bart_base", {**TEXT, "depth": 1}, None),
    "bert": ("bert_base", TEXT, None),
    "roberta": ("roberta_base", TEXT, None),
    "distilbert": ("distilbert_base", TEXT, None),
    "recurrent": ("lstm", {"vocab_size": 31, "width": 8, "features": 8, "depth": 3}, None),
    "mlp": ("mlp", {"num_features": 8, "widths": (8,) * 24, "activation": "tanh"}, None),
}
TEXTS = {"clip", "gpt2", "llama", "t5", "bart", "bert", "roberta", "distilbert", "recurrent"}
ATTENDING = TEXTS - {"recurrent"} | {"vit", "swin"}
SERVED = {  # method → families that it can serve; all others serve every family
    "prompt": TEXTS,
    "prefix": ATTENDING,
    "visual_prompt": {"vit", "clip"},
    "fusion": set(),
    **dict.fromkeys(("boft", "fourierft", "lora_fa", "randlora"), set(models.FAMILIES) - {"recurrent"}),
}
FIELDS = {"bottleneck": {"dim": 8, "activation": "silu"}, "parallel": {"dim": 8, "activation": "silu"}}


ALIKE = {"vgg", "efficientnet", "mobilenet_v2", "mobilenet_v3", "densenet", "gpt2", "roberta", "distilbert"}
"""Families whose layers are those of others, of which a step is traced and not run."""


@functools.cache
def small(family):
    """(model, variables, input, where it ends, sites) of the smallest model of a family."""
    name, fields, stop = FAMILIES[family]
    model = models.create(name, 3, **fields)
    x = jax.tree.map(_filled, model.example_input(2))
    variables = adapted.variables_of(model, x)
    last = model.stages.index(stop or "head")
    sites = peft.sites(model, variables, x)
    inside = {p: s for p, s in sites.items() if s.name != "Dropout" and model.stages.index(p.split("/")[0]) < last}
    return model, variables, x, stop, inside


def _filled(x):
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jax.random.randint(jax.random.key(1), (len(x), min(x.shape[1], 8)), 2, 31)
    return jax.random.normal(jax.random.key(1), x.shape)


@functools.cache
def plan(family):
    """Groups of path → row, each method at a module of its own; and method → why no module can be adapted so."""
    sites, groups, left = small(family)[-1], [], {}
    scarce = {name: sum(not slots.load(name).serves(site) for site in sites.values()) for name in peft.METHODS}
    for name in sorted(scarce, key=scarce.__getitem__):
        left[name] = []
        for site in sorted(sites.values(), key=lambda s: (sum(s.path in group for group in groups), bool(s.leaf))):
            row = (site.path, name, FIELDS.get(name, {}))
            if why := slots.load(name).serves(site) or _why_not(row, family):
                left[name].append(why)
                continue
            fresh = [group for group in groups if site.path not in group]
            groups += [] if fresh else [{}]
            (fresh or groups[-1:])[0][site.path] = row
            del left[name]
            break
    return groups, left


def _why_not(row, family):
    _, variables, _, _, sites = small(family)
    try:
        jax.eval_shape(lambda params: peft.init(jax.random.key(2), [row], sites, params), variables["params"])
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("family", models.FAMILIES)
def test_each_method_serves_a_family_or_says_in_one_line_why_not(family):
    _, left = plan(family)
    assert set(left) == {name for name in peft.METHODS if family not in SERVED.get(name, models.FAMILIES)}
    assert all(why and "\n" not in why for reasons in left.values() for why in reasons)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_step_moves_every_adapter_and_nothing_else(family):
    for group in plan(family)[0]:
        adapters = _adapters(family, group.values())
        jax.eval_shape(functools.partial(_step, family), adapters) if family in ALIKE else _check(
            *_step(family, adapters)
        )


def _adapters(family, rows):
    _, variables, _, _, sites = small(family)
    return adapted.adapters_of(sites, variables["params"], list(rows))


def _step(family, adapters):
    model, variables, x, stop, _ = small(family)
    frozen = jax.tree.map(lambda _: False, variables["params"])
    moving, still, statistics = state.split({**variables, "adapters": adapters}, frozen)
    assert (set(moving), "params" in still) == ({"adapters"}, True)
    given = {"train": True, "stop": stop, "rngs": {"dropout": jax.random.key(3)}, "mutable": ["batch_stats"]}

    def loss(moving, x):
        y, _ = forward.apply(model, trees.merge(moving, still, statistics), x, **given)
        return jnp.square(_floats(y)).mean()

    run = jax.value_and_grad(loss)
    return (run if family in ALIKE else adapted.jitted(run))(moving, x)


def _check(value, slopes):
    assert np.isfinite(value), value
    for path, slot, own in slots.split(slopes["adapters"]):
        leaves = jax.tree.leaves(own)
        assert all(np.isfinite(leaf).all() for leaf in leaves), (path, slot)
        assert any(np.any(leaf) for leaf in leaves), (path, slot)


@pytest.mark.parametrize("family", sorted({*models.FAMILIES} - ALIKE))
def test_what_can_be_merged_computes_the_same_without_adapters(family):
    for group in plan(family)[0]:
        rows = [row for row in group.values() if slots.load(row[1]).merge is not None and _merges(family, row)]
        if rows:
            _merged(family, _adapters(family, rows))


def _merged(family, adapters):
    model, variables, x, stop, _ = small(family)
    merged = adapted.jitted(peft.merge)(variables["params"], adapters)

    @adapted.jitted
    def run(variables, x):
        changed = [{"adapters": adapters}, {"params": merged}]
        return [_floats(forward.apply(model, {**variables, **change}, x, stop=stop)[0]) for change in changed]

    beside, plain = run(variables, x)
    size = np.abs(plain).max()
    np.testing.assert_allclose(beside / size, plain / size, atol=1e-4)


def _merges(family, row):
    """Whether the module of a row has what a merge needs, such as a bias for a shift."""
    _, variables, _, _, sites = small(family)
    params = variables["params"]
    try:
        jax.eval_shape(lambda p: peft.merge(p, peft.init(jax.random.key(2), [row], sites, p)), params)
    except InputError:
        return False
    return True


def _floats(y):
    return jnp.concatenate([jnp.ravel(z) for z in jax.tree.leaves(y) if jnp.issubdtype(z.dtype, jnp.floating)])
