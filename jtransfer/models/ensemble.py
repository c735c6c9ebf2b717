"""Several models side by side, each with its own preprocessing and head, whose predictions become one."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jtransfer.core.errors import InputError, unknown
from jtransfer.models import backbones, making
from jtransfer.models.backbones import Hidden, SideBySide
from jtransfer.models.chain import Chain
from jtransfer.models.making import Part
from jtransfer.models.paths import HEAD

STAGE = "members"
COMBINE = ("probabilities", "logits", "stack")
LEAST = -16.0  # of a logarithm of a probability that a stack is given


class Mean(nn.Module):
    """Combines logits [B, C] by name to float32 [B, C].

    Attributes:
      kind: "probabilities", the logarithm of the weighted mean of probabilities; or "logits", the weighted mean.
      weights: Of the models in the order of their names, which add up to 1.
    """

    kind: str
    weights: tuple[float, ...]

    def __call__(self, x: Mapping[str, jax.Array], *, train: bool = False) -> jax.Array:
        logits = jnp.stack([x[name].astype(jnp.float32) for name in sorted(x)])
        shares = jnp.asarray(self.weights).reshape(-1, *[1] * (logits.ndim - 1))
        if self.kind == "logits":
            return (logits * shares).sum(0)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits, -1), axis=0, b=shares)


class Stack(nn.Module):
    """A dense layer, "dense", on the logarithms of the probabilities [B, C₁], [B, C₂], … of all models.

    Attributes:
      num_classes: The number of logits.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], *, train: bool = False) -> jax.Array:
        return nn.Dense(self.num_classes, name="dense")(jnp.concatenate([stacked(x[name]) for name in sorted(x)], -1))


def stacked(logits: jax.Array) -> jax.Array:
    """Returns what a stack is given of the logits [B, C] of one model."""
    return jnp.maximum(jax.nn.log_softmax(logits.astype(jnp.float32), -1), LEAST)


class Ensemble(Chain):
    """members → head. The input is a dict of the inputs of the models by their names.

    Attributes:
      members: Name → the description of a model, which is run whole.
      combine: "probabilities" and "logits", as of `Mean`, which has no parameters; or "stack", a `Stack`.
      weights: Of the members, in the order of their names; none are equal ones.
    """

    members: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict, kw_only=True)
    combine: str = dataclasses.field(default="probabilities", kw_only=True)
    weights: tuple[float, ...] = dataclasses.field(default=(), kw_only=True)

    @property
    def takes(self) -> tuple[str, ...]:
        """The kinds of input that all of the models take."""
        kinds = [model.takes for model in self.faces.values()]
        return tuple(kind for kind in kinds[0] if all(kind in other for other in kinds))

    @property
    def faces(self) -> dict[str, Chain]:
        """The models by name, each of which is given the input as it takes it."""
        shared = {"dtype": self.dtype, "num_classes": self.num_classes}
        found: Any = {name: making.create(one, **shared) for name, one in sorted(self.members.items())}
        return found

    @property
    def parts_of(self) -> dict[str, Part]:
        """The models as parts."""
        return {
            name: Part(model, {stage: f"{STAGE}/{name}/{stage}" for stage in model.stages})
            for name, model in self.faces.items()
        }

    def parts(self):
        models = FrozenDict({name: Hidden(model) for name, model in self.faces.items()})
        last = (
            partial(Stack, self.num_classes) if self.combine == "stack" else partial(Mean, self.combine, self._shares)
        )
        return {STAGE: partial(SideBySide, models, None), HEAD: last}

    @property
    def _shares(self) -> tuple[float, ...]:
        weights = self.weights or (1.0,) * len(self.members)
        return tuple(weight / sum(weights) for weight in weights)

    def example_input(self, batch: int = 1) -> dict[str, Any]:
        """The inputs of the models by their names."""
        return {name: model.example_input(batch) for name, model in self.faces.items()}

    def description(self) -> dict[str, Any]:
        """The fields as plain data, from which `build` makes the same model."""
        own = {"combine": self.combine, "weights": self.weights, "num_classes": self.num_classes}
        return {"members": making.plain(self.members), **own}


def parts(fields: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Part → (name, fields), of the fields as a config gives them."""
    return backbones.parts({"backbones": fields.get("members")})


def join(fields: Mapping[str, Any], found: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The fields with other parts; the inverse of `parts`."""
    return {**fields, "members": backbones.join({}, found)["backbones"]}


def build(
    *,
    members: Any = None,
    combine: str = "probabilities",
    weights: Any = (),
    head: str = "classify",
    num_classes: int = 1000,
    dtype: Any = jnp.float32,
    remat: bool = False,
    **shared: Any,
) -> Ensemble:
    """Makes the model.

    Args:
      members: Name → the name of a model, or a dict of its "name" and its fields.
      combine, weights, num_classes, dtype, remat: Fields of `Ensemble`.
      head: "classify", which is all that an ensemble can do.
      **shared: Fields that each of the models gets which has them, such as `channels`.

    Raises:
      InputError: There are none, one is no chain of stages, or they are of different kinds or classes.
    """
    if combine not in COMBINE:
        raise unknown("combine", combine, COMBINE)
    if head != "classify":
        raise InputError(f"head={head!r}: an ensemble predicts classes or numbers")
    if num_classes == 1 and combine != "logits":
        raise InputError(f"combine={combine!r} of models with one output, a number, is always the same; take 'logits'")
    described = making.side_by_side("members", members, shared)
    count = len(described)
    if weights and (len(weights) != count or min(weights) < 0 or not sum(weights)):
        raise InputError(f"weights={tuple(weights)}: give a number for each of the {count} members, none below 0")
    model = Ensemble(
        num_classes=num_classes, dtype=dtype, remat=remat, members=described, combine=combine,
        weights=tuple(map(float, weights)), parent=None,
    )  # fmt: skip
    for name, face in model.faces.items():
        if not isinstance(face, Chain):
            raise InputError(f"members.{name} is no chain of stages; name a model that is one")
        if combine != "stack" and face.num_classes != num_classes:
            raise InputError(
                f"members.{name} has {face.num_classes} classes, not {num_classes}; only a stack joins them"
            )
    making.check_kinds("members", model)
    return model
