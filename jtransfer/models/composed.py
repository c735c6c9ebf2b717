"""The first stages of one model, a dense layer, and the last stages of another, as one chain."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
from flax.core import FrozenDict

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.types import DType
from jtransfer.models import making
from jtransfer.models.chain import Chain, Tied
from jtransfer.models.fitted import estimator_of
from jtransfer.models.making import Part
from jtransfer.models.paths import HEAD

ADAPTER = "adapter"
OWN = ("source", "cut", ADAPTER, "target", "target_start")


class Dense(nn.Module):
    """A dense layer without activation over the last axis of an array, or of the "x" of a stream of texts.

    Attributes:
      features: The width.
      dtype: The dtype of the computation.
    """

    features: int
    dtype: DType

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        dense = nn.Dense(self.features, dtype=self.dtype, name="dense")
        return {**x, "x": dense(x["x"])} if isinstance(x, dict) else dense(x)


class Composed(Chain):
    """Stages of a source up to `cut`, "adapter", and stages of a target from `target_start` on.

    A composed model is of a class that is both this one and the source's, and so has the fields of the source.

    Attributes:
      source: The name of the source.
      cut: The first stage of the source that is left out.
      adapter: The width of the dense layer in between; 0 where there is none.
      target: The description of the target.
      target_start: The first stage of the target that is taken; "" is its first.
    """

    source: str = dataclasses.field(default="", kw_only=True)
    cut: str = dataclasses.field(default=HEAD, kw_only=True)
    adapter: int = dataclasses.field(default=0, kw_only=True)
    target: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict, kw_only=True)
    target_start: str = dataclasses.field(default="", kw_only=True)

    def constructors(self) -> Mapping[str, Callable[..., nn.Module] | Tied]:
        """The constructors of the stages of both."""
        kept = _until(super().constructors(), self.cut, self.source)
        between = {ADAPTER: partial(Dense, self.adapter, self.dtype)} if self.adapter else {}
        taken = _since(self._target.constructors(), self.target_start, self.target["name"])
        names = _names((*kept, *between), taken)
        return {**kept, **between, **{names[name]: _renamed(part, names) for name, part in taken.items()}}

    @property
    def _target(self) -> Any:
        return _target_of(FrozenDict(self.target), self.num_classes, self.dtype, getattr(self, "head", None))

    @property
    def parts_of(self) -> dict[str, Part]:
        """The parts by name, "source" and "target"."""
        source, kept = _source_of(self), _until(super().constructors(), self.cut, self.source)
        taken = _since(self._target.constructors(), self.target_start, self.target["name"])
        between = (ADAPTER,) if self.adapter else ()
        return {
            "source": Part(source, {name: name for name in kept}),
            "target": Part(self._target, _names((*kept, *between), taken)),
        }

    @property
    def estimator(self) -> str:
        """The estimator that fits the head; "" where it is trained."""
        return estimator_of(self._target)

    @property
    def estimator_options(self) -> Mapping[str, Any]:
        """The options of the estimator."""
        return self._target.estimator_options if self.estimator else {}

    def description(self) -> dict[str, Any]:
        """The fields as plain data, from which `build` makes the same model."""
        source, usual = _source_of(self), making.create({"name": self.source})
        own = {field: making.plain(getattr(self, field)) for field in OWN}
        of_source = {
            field: making.plain(value)
            for field in _field_names(type(source))
            if field != "dtype" and (value := getattr(source, field)) != getattr(usual, field)
        }
        return {**of_source, **own}


def parts(fields: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Part → (name, fields), of the fields of a composed model as a config gives them."""
    rest = {key: value for key, value in fields.items() if key not in OWN}
    source, target = (_split(fields.get(part, "")) for part in ("source", "target"))
    return {"source": (source[0], source[1] | rest), "target": target}


def join(fields: Mapping[str, Any], found: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The fields of a composed model with other parts; the inverse of `parts`."""
    own = {key: value for key, value in fields.items() if key in OWN}
    (source, of_source), (target, of_target) = found["source"], found["target"]
    return {**of_source, **own, "source": source, "target": {"name": target, **of_target}}


def build(*, source: Any = "", adapter: Any = 0, target: Any = "", **fields: Any) -> Composed:
    """Makes a composed model; see `models.compose`."""
    given = dict(making.described(source, "source"))
    described = making.described(target, "target")
    name, own = str(given.pop("name")), {key: fields.pop(key) for key in OWN if key in fields}
    head = making.create({"name": name, **given}, **_shared(fields, name))
    if not isinstance(head, Chain):
        raise InputError(f"source={name!r} is no chain of stages, so that it can't be cut; name a model that is one")
    values = {field: getattr(head, field) for field in _field_names(type(head))}
    made = _class(type(head))(**values, source=name, target=described, parent=None, **own)
    return _fitted(made, adapter)


def _shared(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    from jtransfer import models

    known = models.fields_of(name)
    for field in fields:
        if known is not None and field not in known and field != "num_classes":
            raise unknown(f"field of compose, with the source {name!r}:", field, (*known, *OWN))
    return {key: making.frozen(value) for key, value in fields.items()}


def _fitted(model: Composed, adapter: Any) -> Composed:
    """The model with the width of its adapter, and of a target that takes vectors of any length."""
    target = model._target
    if not isinstance(target, Chain):
        raise InputError(f"target={model.target['name']!r} is no chain of stages; name a model that is one")
    parts = model.parts_of
    if not parts["target"].stages:
        raise InputError(f"target={model.target['name']!r} has no stage to take")
    if adapter and estimator_of(target):
        raise InputError(f"adapter={adapter!r} is not fitted with {model.target['name']}; leave it out")
    if not isinstance(adapter, bool | int) or adapter < 0:
        raise InputError(f"adapter={adapter!r}: give the width of the dense layer, True, or 0 for none")
    source: Any = parts["source"].model
    given = making.output(source, model.cut)
    wanted = making.output(target, model.target_start or target.stages[0])  # pyright: ignore[reportArgumentType]
    wide = getattr(target, "num_features", None)
    free = "num_features" not in model.target and wanted.shape == (1, wide)
    width = given.shape[-1] if free and adapter is True else wanted.shape[-1] if adapter is True else int(adapter)
    out = (*given.shape[:-1], width or given.shape[-1])
    if free and len(out) == 2 and not given.form:
        model = model.clone(target=FrozenDict({**model.target, "num_features": out[-1]}))
        wanted = making.output(model._target, model.target_start or target.stages[0])
    if len(out) != len(wanted.shape) or out[-1] != wanted.shape[-1] or given.form != wanted.form:
        change = "name another cut or target_start"
        if len(out) == len(wanted.shape) and given.form == wanted.form:
            change = f"set adapter={wanted.shape[-1]} or adapter=True"
        raise InputError(
            f"{model.source} before {model.cut!r} gives {_said(out, given)}, and {model.target['name']} takes "
            f"{_said(wanted.shape, wanted)} at {model.target_start or target.stages[0]!r}; {change}"
        )
    return model.clone(adapter=width)


def _said(shape: tuple[int, ...], border: making.Border) -> str:
    beside = [name for name in border.form if name != "x"]
    return f"[{', '.join(['B', *map(str, shape[1:])])}]" + (f" with {', '.join(beside)}" if beside else "")


@functools.cache
def _class(source: type[Chain]) -> type[Composed]:
    return type(f"Composed{source.__name__}", (Composed, source), {"__module__": __name__, "__annotations__": {}})


@functools.lru_cache(64)
def _target_of(target: FrozenDict, num_classes: int, dtype: DType, head: str | None) -> Any:
    shared = {"num_classes": num_classes, "dtype": dtype, **({"head": head} if head else {})}
    return making.create(target, **shared)


def _source_of(model: Composed) -> Chain:
    """The source alone."""
    kind: Any = type(model).__mro__[2]
    return kind(**{field: getattr(model, field) for field in _field_names(kind)}, parent=None)


def _field_names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init and field.name not in ("parent", "name")]  # pyright: ignore[reportArgumentType]


def _until(stages: Mapping[str, Any], cut: str, name: str) -> dict[str, Any]:
    if cut not in stages:
        raise unknown(f"cut: stage of {name}", cut, stages)
    names = list(stages)[: list(stages).index(cut)]
    if not names:
        raise InputError(f"cut={cut!r} leaves nothing of {name}, whose stages are {', '.join(stages)}")
    return {stage: stages[stage] for stage in names}


def _since(stages: Mapping[str, Any], start: str, name: str) -> dict[str, Any]:
    if start and start not in stages:
        raise unknown(f"target_start: stage of {name}", start, stages)
    names = list(stages)[list(stages).index(start) if start else 0 :]
    for stage in names:
        part = stages[stage]
        if isinstance(part, Tied) and part.to not in names:
            raise InputError(
                f"{name}: its stage {stage!r} uses {part.to!r}; take it too, with target_start={part.to!r}"
            )
    return {stage: stages[stage] for stage in names}


def _names(before: tuple[str, ...], taken: Mapping[str, Any]) -> dict[str, str]:
    """Stage of the target → its name in the whole."""
    return {name: f"target_{name}" if name in before else name for name in taken}


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(part, Tied) or names[part.to] == part.to:
        return part
    return Tied(lambda name, **stages: part.make(name=name, **{part.to: stages[names[part.to]]}), names[part.to])


def _split(given: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(given, Mapping):
        return (given if isinstance(given, str) else "", {})
    return str(given.get("name", "")), {key: value for key, value in given.items() if key != "name"}
