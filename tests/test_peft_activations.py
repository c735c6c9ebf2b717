"""Methods on activations: what they add is the formula of their paper, where the tree says that it is added."""

import adapted
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, peft
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward

TINY = {"vocab_size": 31, "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "max_length": 40, "dropout": 0.0}


def begun(model, x, rows, moved=True):
    """(variables, adapters), of which the trained leaves have moved."""
    variables = adapted.variables_of(model, x)
    params = variables["params"]
    return variables, adapted.adapters_of(peft.sites(model, variables, x), params, rows, by=0.3 * moved)


class Layer(nn.Module):
    """A network of two dense layers behind a norm, beside a residual."""

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(name="norm")(x)
        return x + nn.Dense(6, name="fc2")(nn.relu(nn.Dense(8, name="fc1")(h)))


class Body(nn.Module):
    """A layer, and one that has the name of a method."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(6, name="bottleneck")(Layer(name="layer")(x))


class Model(nn.Module):
    """A module around them."""

    @nn.compact
    def __call__(self, x):
        return Body(name="body")(x)


def dense(x, own):
    return x @ own["kernel"] + own["bias"]


def small(own, x, act=nn.relu, name="relu"):
    w = own[name]
    return act(x @ w["down"] + w["down_bias"]) @ w["up"] + w["up_bias"]


def run(model, variables, adapters, x):
    return forward.apply(model, {**variables, "adapters": adapters}, x)[0]


X = jax.random.normal(jax.random.key(2), (2, 3, 6))


def network(params, x, behind=lambda y: y, beside=lambda x, h: 0, after=lambda x: x):
    params, own = params["body"]["layer"], params["body"]["bottleneck"]
    h = nn.LayerNorm().apply({"params": params["norm"]}, x)
    y = dense(nn.relu(dense(h, params["fc1"])), params["fc2"])
    return dense(after(x + behind(y) + beside(x, h)), own)


def test_a_bottleneck_is_behind_its_module_though_another_one_has_its_name():
    rows = [
        ("body/layer/fc2/kernel", "bottleneck", {"dim": 4, "activation": "silu", "scale": 0.5}),
        ("body/bottleneck", "lora", {"rank": 2}),
    ]
    variables, adapters = begun(Model(), X, rows)
    own, lora = adapters["body"]["layer"]["fc2"]["bottleneck"], adapters["body"]["bottleneck"]["lora"]
    merged = peft.merge(variables["params"], {"body": {"bottleneck": {"lora": lora}}})
    expected = network(merged, X, behind=lambda y: y + 0.5 * small(own, y, nn.silu, "silu"))
    np.testing.assert_allclose(run(Model(), variables, adapters, X), expected, atol=1e-5)


@pytest.mark.parametrize("start", ["", "norm"])
def test_a_parallel_adapter_of_a_layer_is_beside_its_network_and_begins_where_it_is_asked_to(start):
    rows = [("body/layer", "parallel", {"dim": 4, "learned": True, "scale": 0.1, "start": start})]
    variables, adapters = begun(Model(), X, rows)
    own = adapters["body"]["layer"]["parallel"]
    expected = network(variables["params"], X, beside=lambda x, h: own["scale"] * small(own, x if start else h))
    np.testing.assert_allclose(run(Model(), variables, adapters, X), expected, atol=1e-5)


def test_a_parallel_adapter_of_a_module_without_dense_layers_is_beside_the_module():
    variables, adapters = begun(Model(), X, [("body/layer/fc1", "parallel", {"dim": 4})])
    own = adapters["body"]["layer"]["fc1"]["parallel"]
    params = variables["params"]["body"]["layer"]
    h = nn.LayerNorm().apply({"params": params["norm"]}, X)
    y = X + dense(nn.relu(dense(h, params["fc1"]) + small(own, h)), params["fc2"])
    expected = dense(y, variables["params"]["body"]["bottleneck"])
    np.testing.assert_allclose(run(Model(), variables, adapters, X), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "fields", "paths"),
    [
        ("bert_base", TINY, ("embed", "layer_0", "layer_1")),
        ("resnet18", {"depths": (2,), "widths": (8,), "image_size": 32}, ("stem", "stage1/block0", "stage1/block1")),
    ],
)
def test_they_begin_as_no_change_of_a_stream_of_texts_and_of_a_feature_map(name, fields, paths):
    model = models.create(name, 3, **fields)
    x = jax.tree.map(lambda leaf: leaf + 1, model.example_input(2))
    rows = [(path, method, {}) for path, method in zip(paths, ("reft", "parallel", "bottleneck"), strict=True)]
    variables, adapters = begun(model, x, rows, moved=False)
    both = adapted.jitted(lambda v, a: (forward.apply(model, v, x)[0], run(model, v, a, x)))
    np.testing.assert_allclose(*both(variables, adapters), atol=1e-6)


def test_bottlenecks_of_several_trainings_are_fused_by_attention_and_are_not_trained():
    found = [begun(Model(), X, [("body/layer", "bottleneck", {"dim": 4 + i})]) for i in range(2)]
    variables = found[0][0]
    fused = peft.fuse(jax.random.key(3), {"a": found[0][1], "b": found[1][1]})
    own = fused["body"]["layer"]["fusion"]
    assert sum(leaf.size for path, leaf in trees.flatten(own).items() if not path.startswith("fixed/")) == 3 * 6 * 6
    np.testing.assert_array_equal(own["value"], np.eye(6))
    query, key, value = (own[name] * 20 for name in ("query", "key", "value"))
    own.update(query=query, key=key, value=value)

    def fusion(h):
        z = [small(tree["body"]["layer"]["bottleneck"], h) for _, tree in found]
        scores = jnp.stack([((h @ query) * (one @ key)).sum(-1) for one in z])
        return h + sum(w[..., None] * (one @ value) for w, one in zip(jax.nn.softmax(scores, axis=0), z, strict=True))

    expected = network(variables["params"], X, after=fusion)
    np.testing.assert_allclose(run(Model(), variables, fused, X), expected, rtol=1e-4, atol=1e-4)


def test_a_fusion_is_made_of_bottlenecks_at_the_same_modules():
    a = begun(Model(), X, [("body/layer", "bottleneck", {"dim": 4})])[1]
    b = begun(Model(), X, [("body", "bottleneck", {"dim": 4})])[1]
    with pytest.raises(InputError, match="adapters 'a' have no bottleneck at body, where others have one"):
        peft.fuse(jax.random.key(0), {"a": a, "b": b})
    lora = begun(Model(), X, [("body/layer/fc1", "lora", {})])[1]
    with pytest.raises(InputError, match="a fusion is made of bottlenecks, and 'lora' is none"):
        peft.fuse(jax.random.key(0), {"a": lora})
    with pytest.raises(InputError, match=r"trained, by peft\.fuse"):
        begun(Model(), X, [("body", "fusion", {})])


def loreft(own, h):
    q, r = np.linalg.qr(np.asarray(own["rotation"], np.float64))
    q = q * np.sign(np.diag(r))
    assert np.abs(q.T @ q - np.eye(q.shape[1])).max() < 1e-6
    return h + (h @ own["kernel"] + own["bias"] - h @ q) @ q.T


def test_reft_is_the_formula_of_the_paper_with_an_orthonormal_factor():
    variables, adapters = begun(Model(), X, [("body/layer", "reft", {"rank": 2})])
    own = adapters["body"]["layer"]["reft"]
    expected = network(variables["params"], X, after=lambda h: loreft(own, h))
    np.testing.assert_allclose(run(Model(), variables, adapters, X), expected, atol=1e-5)


def test_reft_of_positions_counts_no_padding():
    model = models.create("bert_base", 3, head="tag", **{**TINY, "depth": 1})
    mask = jnp.asarray([[1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]])
    x = {"input_ids": jnp.arange(12).reshape(2, 6) + 2, "attention_mask": mask}
    variables, adapters = begun(model, x, [("layer_0", "reft", {"rank": 2, "first": 1, "last": 2})])
    before, after = adapted.jitted(lambda a: (forward.apply(model, variables, x)[0], run(model, variables, a, x)))(
        adapters
    )
    moved = np.abs(after - before).max(-1) > 1e-6
    np.testing.assert_array_equal(moved, [[1, 0, 0, 1, 1, 0], [0, 1, 0, 0, 1, 1]])


def test_visual_prompts_are_tokens_beside_those_of_the_image():
    fields = {"width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 16, "patch": 16, "image_size": 32, "pooling": "mean"}
    model = models.create("vit_base_patch16", 3, **fields)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    for pattern, deep in (("embed", False), (r"layer_\d", True)):
        variables, adapters = begun(model, x, [(pattern, "visual_prompt", {"length": 3})])

        @adapted.jitted
        def both(adapters, variables=variables, deep=deep):
            h = model.apply(variables, x, stop="layer_0")
            for i, stage in enumerate(("layer_0", "layer_1")):
                own = adapters[stage if deep else "embed"]["visual_prompt"]
                tokens = jnp.broadcast_to(own["deep" if deep else "shallow"], (2, 3, 16))
                h = jnp.concatenate([h, tokens], axis=1) if deep or not i else h  # attention has no order
                h = model.apply(variables, h, start=stage, stop=model.stages[i + 2])
                h = h[:, :5] if deep or i else h
            return model.apply(variables, h, start="pool"), run(model, variables, adapters, x)

        np.testing.assert_allclose(*both(adapters), atol=1e-5)


def test_adapters_of_a_scan_over_modules_have_its_axis():
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return Layer(name="layer")(x), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = {"params": 0, "adapters": 0}
            return nn.scan(Step, variable_axes=axes, split_rngs={"params": True}, length=3)(name="steps")(x, None)[0]

    rows = [("steps/layer", "bottleneck", {"dim": 4}), ("steps/layer", "reft", {"rank": 2})]
    variables, adapters = begun(Scanned(), X, rows)
    assert adapters["steps"]["layer"]["bottleneck"]["relu"]["down"].shape == (3, 6, 4)
    x = X
    for i in range(3):
        params, own = (
            jax.tree.map(lambda leaf, i=i: leaf[i], tree["steps"]["layer"]) for tree in (variables["params"], adapters)
        )
        x = Layer().apply({"params": params}, x)
        x = x + small(own["bottleneck"], x)
        x = loreft(own["reft"], x)
    np.testing.assert_allclose(run(Scanned(), variables, adapters, X), x, atol=1e-4)


def test_modules_that_share_a_scope_are_adapted_once_and_layers_as_a_loop_as_well():
    model = models.create("clip_text_base", 3, **{k: v for k, v in TINY.items() if k != "dropout"})
    x = {"input_ids": jax.random.randint(jax.random.key(0), (2, 6), 0, 31)}
    variables, adapters = begun(model, x, [(r"layer_\d", "bottleneck", {"dim": 4})])

    @adapted.jitted
    def both(adapters):
        stream = model.apply(variables, x, stop="layer_0")
        for i, stage in enumerate(("layer_0", "layer_1")):
            stream = model.apply(variables, stream, start=stage, stop=model.stages[i + 2])
            stream = {**stream, "x": stream["x"] + small(adapters[stage]["bottleneck"], stream["x"])}
        looped = run(model.clone(scan=True, remat=True), variables, adapters, x)
        return model.apply(variables, stream, start="pool"), run(model, variables, adapters, x), looped

    expected, once, looped = both(adapters)
    np.testing.assert_allclose(once, expected, atol=1e-5)
    np.testing.assert_allclose(looped, expected, atol=1e-5)


def test_bitfit_and_norms_are_rules_and_their_counts_are_those_of_the_reference():
    model = models.create("bert_base", 2)
    params = jax.eval_shape(model.init, jax.random.key(0), model.example_input())["params"]

    def trained(table):
        mask = trees.flatten(rules.match(table, params))
        return sum(
            leaf.size for path, leaf in trees.flatten(params).items() if mask[path] and not path.startswith("head/")
        )

    assert trained([(".*norm\\d?/.*", True), (".*", False)]) == 38_400
    assert trained([(".*/bias", True), (".*", False)]) == 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 768 + 768


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("body", "bottleneck", {"dim": 0}), "dim=0 must be a whole number"),
        (("body", "bottleneck", {"activation": "rleu"}), "unknown activation 'rleu'; nearest: relu"),
        (("body", "bottleneck", {"dropout": 1}), "dropout=1 must be at least 0 and below 1"),
        (("body/layer", "parallel", {"start": "nrom"}), "unknown start of the adapter of body/layer: 'nrom'"),
        (("body/layer/norm", "parallel", {"start": "x"}), "unknown start"),
        (("body", "reft", {"rank": 7}), "rank=7 must be a whole number, from 1 to 6"),
        (("body", "reft", {"first": -1}), "are no numbers of positions of body"),
        (("body", "prompt", {}), "'prompt' can't adapt body .* which embeds no texts"),
        (("body/layer/fc1", "prefix", {}), "a prefix is for attention"),
        (("body/layer/norm", "visual_prompt", {}), "visual prompts are for"),
        (("body/layer", "visual_prompt", {"length": 0}), "length=0 must be a whole number"),
    ],
)
def test_a_row_that_can_not_be_is_one_line(row, says):
    with pytest.raises(InputError, match=says):
        begun(Model(), X, [row])


def test_a_module_that_calls_its_base_class_is_adapted_once():
    class Doubled(nn.Dense):
        @nn.compact
        def __call__(self, x):
            return 2 * super().__call__(x)

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Doubled(6, name="dense")(x)

    variables, adapters = begun(Plain(), X, [("dense", "bottleneck", {"dim": 4})])
    y = Plain().apply(variables, X)
    expected = y + small(adapters["dense"]["bottleneck"], y)
    np.testing.assert_allclose(run(Plain(), variables, adapters, X), expected, atol=1e-5)
