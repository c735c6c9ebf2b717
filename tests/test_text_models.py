"""Models of text: tied embeddings, heads, and the logits of other libraries."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import tree as trees
from jtransfer.models import text
from jtransfer.models.chain import Chain, Tied


class Embed(nn.Module):
    def setup(self):
        self.tokens = nn.Embed(11, 4)

    def __call__(self, inputs, *, train=False):
        return self.tokens(inputs["input_ids"])


class Tiny(Chain):
    """embed → head, with the same embedding in both."""

    def example_input(self, batch=1):
        return text.example_input(batch)

    def parts(self):
        head = partial(text.MaskedLM, epsilon=1e-5, activation=nn.gelu)
        return {"embed": Embed, "head": Tied(head, "embed")}


def test_a_tied_embedding_has_its_parameter_once_wherever_the_chain_starts():
    model = Tiny()
    variables = model.init(jax.random.key(0), model.example_input())
    paths = set(trees.flatten(variables["params"]))
    head = {"head/dense/kernel", "head/dense/bias", "head/norm/scale", "head/norm/bias", "head/bias"}
    assert paths == {"embed/tokens/embedding"} | head
    assert trees.flatten(jax.eval_shape(model.init, jax.random.key(0), model.example_input())["params"]).keys() == paths
    x = {"input_ids": jnp.asarray([[1, 2, 3]])}
    features = model.apply(variables, x, stop="head")
    np.testing.assert_array_equal(model.apply(variables, features, start="head"), model.apply(variables, x))

    def loss(params):
        return model.apply({"params": params}, features, start="head").var()

    gradient = jax.grad(loss)(variables["params"])["embed"]["tokens"]["embedding"]
    assert np.abs(gradient).max() > 0
    only_head = {"params": {**variables["params"], "embed": {"tokens": {"embedding": jnp.zeros((11, 4))}}}}
    np.testing.assert_array_equal(model.apply(only_head, features, start="head"), 0)


def test_interceptors_see_a_tied_embedding_at_its_own_path():
    model, seen = Tiny(), []
    inputs = model.example_input()
    variables = model.init(jax.random.key(0), inputs)

    def note(call, args, kwargs, context):
        seen.append(("/".join(context.module.path), context.method_name))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        model.apply(variables, inputs)
    assert ("embed/tokens", "__call__") in seen
    assert ("embed/tokens", "attend") in seen
    assert ("head/dense", "__call__") in seen
