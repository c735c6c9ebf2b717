"""Models whose head is fitted at once by an estimator of scikit-learn, and holds what was fitted as arrays.

They take vectors, and are heads for other models: `models.compose("resnet18", target="random_forest")`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Float

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.models.chain import Chain
from jtransfer.models.head import Head

LEAST = 1e-7  # of a probability, of which the logarithm is taken


def estimator_of(model: nn.Module) -> str:
    """The name of the estimator that fits the head of a model; "" where it is trained, as that of any other module."""
    return getattr(model, "estimator", "") if isinstance(model, Chain) else ""


class Trees(nn.Module):
    """Decision trees: from a node an example goes to `left` where its number `feature` is at most `threshold`, else to
    `right`; a leaf leads to itself. What the leaves of all trees hold adds up to the logits, or to probabilities.

    Attributes:
      trees: The number of trees.
      nodes: The most nodes of a tree.
      num_classes: The number of logits.
      probabilities: Whether the sums are probabilities, of which the logits are the logarithms.
    """

    trees: int
    nodes: int
    num_classes: int
    probabilities: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        shape = (self.trees, self.nodes)

        def whole(name: str) -> jax.Array:
            return jnp.asarray(self.param(name, lambda _: jnp.zeros(shape, jnp.int32)))

        feature, left, right = whole("feature"), whole("left"), whole("right")
        threshold = jnp.asarray(self.param("threshold", nn.initializers.zeros, shape))
        value = jnp.asarray(self.param("value", nn.initializers.zeros, (*shape, self.num_classes)))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        x, tree = jnp.asarray(x, jnp.float32), jnp.arange(self.trees)

        def following(node: jax.Array) -> jax.Array:
            chosen = jnp.take_along_axis(x, feature[tree, node], 1)
            return jnp.where(chosen <= threshold[tree, node], left[tree, node], right[tree, node])

        def moved(nodes: tuple[jax.Array, jax.Array]) -> jax.Array:
            return jnp.any(nodes[0] != nodes[1])

        first = jnp.zeros((x.shape[0], self.trees), jnp.int32)
        _, leaves = jax.lax.while_loop(moved, lambda nodes: (nodes[1], following(nodes[1])), (first, following(first)))
        total = jnp.sum(value[tree, leaves], 1) + bias
        return jnp.log(jnp.maximum(total, LEAST)) if self.probabilities else total


class Fitted(Chain):
    """A chain of one stage, "head", that is fitted.

    Attributes:
      estimator: The name of the estimator that fits it. Not a field.
      num_features: The length of the vectors; in a run, the data give it.
      options: Arguments of scikit-learn's class beside the fields here, such as {"min_samples_leaf": 5}.
    """

    takes = ("vector",)
    estimator = ""

    num_features: int = 64
    options: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict, kw_only=True)

    @property
    def estimator_options(self) -> dict[str, Any]:
        """The arguments of scikit-learn's class."""
        return dict(self.options)

    def example_input(self, batch: int = 1) -> Float[Array, "b c"]:
        """Zeros of the input's shape and dtype: float32 [batch, num_features]."""
        return jnp.zeros((batch, self.num_features), jnp.float32)


class LogisticRegression(Fitted):
    """The dense layer that scikit-learn's LogisticRegression fits."""

    estimator = "logistic_regression"

    def parts(self):
        return {"head": partial(Head, self.num_classes, dtype=self.dtype)}


class DecisionTree(Fitted):
    """scikit-learn's DecisionTreeClassifier.

    Attributes:
      max_leaf_nodes: The most leaves of a tree.
    """

    estimator = "decision_tree"
    max_leaf_nodes: int = 1000

    @property
    def trees(self) -> int:
        """The number of trees."""
        return 1

    @property
    def estimator_options(self) -> dict[str, Any]:
        """The arguments of scikit-learn's class."""
        return {"max_leaf_nodes": self.max_leaf_nodes, **self.options}

    def parts(self) -> Mapping[str, Callable[..., nn.Module]]:
        if self.max_leaf_nodes < 2 or self.trees < 1:
            raise InputError(f"{self.estimator} needs max_leaf_nodes of at least 2, and at least 1 tree")
        probabilities = self.estimator != "gradient_boosting"
        nodes = 2 * self.max_leaf_nodes - 1
        return {"head": partial(Trees, self.trees, nodes, self.num_classes, probabilities)}


class RandomForest(DecisionTree):
    """scikit-learn's RandomForestClassifier.

    Attributes:
      n_estimators: The number of trees.
    """

    estimator = "random_forest"
    n_estimators: int = 100

    @property
    def trees(self) -> int:
        """The number of trees."""
        return self.n_estimators

    @property
    def estimator_options(self) -> dict[str, Any]:
        """The arguments of scikit-learn's class."""
        return {"n_estimators": self.n_estimators, **super().estimator_options}


class GradientBoosting(DecisionTree):
    """scikit-learn's HistGradientBoostingClassifier.

    Attributes:
      max_iter: The number of rounds, of each of which there is a tree for each class, or one of two classes.
    """

    estimator = "gradient_boosting"
    max_leaf_nodes: int = 31
    max_iter: int = 100

    @property
    def trees(self) -> int:
        """The number of trees."""
        return self.max_iter * (self.num_classes if self.num_classes > 2 else 1)

    @property
    def estimator_options(self) -> dict[str, Any]:
        """The arguments of scikit-learn's class."""
        return {"max_iter": self.max_iter, **super().estimator_options}


MODELS = {
    "decision_tree": partial(DecisionTree),
    "random_forest": partial(RandomForest),
    "gradient_boosting": partial(GradientBoosting),
    "logistic_regression": partial(LogisticRegression),
}
