"""Several models side by side, each with its own preprocessing, whose features one head is given together."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jtransfer.core.errors import InputError, unknown
from jtransfer.models import making
from jtransfer.models.chain import Chain
from jtransfer.models.head import Embedding, Head
from jtransfer.models.making import Part
from jtransfer.models.paths import HEAD

GATES = ("none", "scalar", "softmax")
STAGE = "backbones"


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A model that Linen does not take for a submodule where it is a field."""

    model: Chain


class SideBySide(nn.Module):
    """Runs each model up to a stage: name → input, to name → what it gives, such as features [B, d].

    Attributes:
      models: Name → model.
      stop: The first stage that is left out; None runs all.
    """

    models: Mapping[str, Hidden]
    stop: str | None = HEAD

    @nn.compact
    def __call__(self, x: Mapping[str, Any], *, train: bool = False) -> dict[str, jax.Array]:
        return {
            name: held.model.clone(parent=self, name=name)(x[name], train=train, stop=self.stop)
            for name, held in self.models.items()
        }


class Gates(nn.Module):
    """Concatenates features [B, d₁], [B, d₂], … to float32 [B, d₁ + d₂ + …], each times its gate.

    Attributes:
      kind: "none"; "scalar", one learned number for each, which begins at 1; or "softmax", learned weights that are
        positive and whose mean is 1, which they all are at the beginning.
    """

    kind: str

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], *, train: bool = False) -> jax.Array:
        gates = jnp.ones(len(x))
        if self.kind == "scalar":
            gates = self.param("gates", nn.initializers.ones, (len(x),))
        elif self.kind == "softmax":
            gates = len(x) * jax.nn.softmax(self.param("gates", nn.initializers.zeros, (len(x),)))
        return jnp.concatenate([gates[i] * x[name].astype(jnp.float32) for i, name in enumerate(sorted(x))], -1)


class Backbones(Chain):
    """backbones → gates → head. The input is a dict of the inputs of the models by their names.

    Attributes:
      backbones: Name → the description of a model, of which all stages before its head are run.
      gates: The `kind` of `Gates`.
      head: "classify", or "embed", the concatenated features.
      normalize: Whether embeddings are divided by their length.
    """

    backbones: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict, kw_only=True)
    gates: str = dataclasses.field(default="none", kw_only=True)
    head: str = dataclasses.field(default="classify", kw_only=True)
    normalize: bool = dataclasses.field(default=True, kw_only=True)

    @property
    def takes(self) -> tuple[str, ...]:
        """The kinds of input that all of the models take."""
        kinds = [model.takes for model in self.faces.values()]
        return tuple(kind for kind in kinds[0] if all(kind in other for other in kinds))

    @property
    def faces(self) -> dict[str, Chain]:
        """The models by name, each of which is given the input as it takes it."""
        found: Any = {name: making.create(one, dtype=self.dtype) for name, one in sorted(self.backbones.items())}
        return found

    @property
    def parts_of(self) -> dict[str, Part]:
        """The models as parts."""
        return {
            name: Part(model, {stage: f"{STAGE}/{name}/{stage}" for stage in model.stages if stage != HEAD})
            for name, model in self.faces.items()
        }

    def parts(self):
        last = partial(Embedding, self.normalize) if self.head == "embed" else partial(Head, self.num_classes)
        return {
            STAGE: partial(SideBySide, FrozenDict({name: Hidden(model) for name, model in self.faces.items()})),
            "gates": partial(Gates, self.gates),
            HEAD: last,
        }

    def example_input(self, batch: int = 1) -> dict[str, Any]:
        """The inputs of the models by their names."""
        return {name: model.example_input(batch) for name, model in self.faces.items()}

    def description(self) -> dict[str, Any]:
        """The fields as plain data, from which `build` makes the same model."""
        own = {"gates": self.gates, "head": self.head, "normalize": self.normalize, "num_classes": self.num_classes}
        return {"backbones": making.plain(self.backbones), **own}


def parts(fields: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Part → (name, fields), of the fields as a config gives them."""
    found = {}
    for part, given in _mapping(fields.get("backbones")).items():
        one = given if isinstance(given, Mapping) else {"name": given}
        name = one.get("name", "")
        rest = {key: value for key, value in one.items() if key != "name"}
        found[part] = (name if isinstance(name, str) else "", rest)
    return found


def join(fields: Mapping[str, Any], found: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The fields with other parts; the inverse of `parts`."""
    return {**fields, "backbones": {part: {"name": name, **rest} for part, (name, rest) in found.items()}}


def build(
    *,
    backbones: Any = None,
    gates: str = "none",
    head: str = "classify",
    normalize: bool = True,
    num_classes: int = 1000,
    dtype: Any = jnp.float32,
    remat: bool = False,
    **shared: Any,
) -> Backbones:
    """Makes the model.

    Args:
      backbones: Name → the name of a model, or a dict of its "name" and its fields.
      gates, head, normalize, num_classes, dtype, remat: Fields of `Backbones`.
      **shared: Fields that each of the models gets which has them, such as `channels`.

    Raises:
      InputError: There are none, one is no chain of stages, or does not give a vector before its head.
    """
    if gates not in GATES:
        raise unknown("gates", gates, GATES)
    found = making.side_by_side("backbones", backbones, shared)
    model = Backbones(
        num_classes=num_classes, dtype=dtype, remat=remat, backbones=found, gates=gates, head=head,
        normalize=normalize, parent=None,
    )  # fmt: skip
    for name, face in model.faces.items():
        _check(name, face)
    making.check_kinds("backbones", model)
    return model


def _check(name: str, model: Any) -> None:
    if not isinstance(model, Chain):
        raise InputError(f"backbones.{name} is no chain of stages; name a model that is one")
    shape = making.output(model, HEAD).shape  # pyright: ignore[reportArgumentType]
    if len(shape) != 2:
        raise InputError(f"backbones.{name} gives {list(shape)} before its head; it must be a vector for each example")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
