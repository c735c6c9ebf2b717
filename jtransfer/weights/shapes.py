"""The shapes and dtypes of a model's variables, found without touching a device."""

import contextlib
import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jtransfer.core.errors import InputError
from jtransfer.layers.cpu import dispatch


def abstract(model: Any, sample: Any = None) -> dict:
    """Returns the tree of a model's variables with a `jax.ShapeDtypeStruct` in the place of each array.

    Args:
      model: a model of `jtransfer.models`, or any Linen module if a sample is given.
      sample: an input to initialise with; by default `model.example_input(1)`.

    Raises:
      InputError: a layer has no features, as that of a head with `num_classes=0`; or the model needs a sample.
    """
    if sample is not None:
        return _trace(model, lambda: sample)
    try:
        hash(model)
    except TypeError:  # a model that was made with a list or a dict
        return _with_own_sample.__wrapped__(model)
    return _with_own_sample(model)


@functools.lru_cache(64)  # as many as one search compares
def _with_own_sample(model: Any) -> dict:
    return _trace(model, lambda: example(model))


def example(model: Any) -> Any:
    """Returns an input of zeros for a model, a batch of one. Raises InputError if the model does not make one."""
    if not hasattr(model, "example_input"):
        name = type(model).__name__
        raise InputError(f"{name} has no example_input(batch), which makes an input of zeros; give it one, or sample=…")
    return model.example_input(1)


def _trace(model: Any, sample: Callable[[], Any]) -> dict:
    # the routes for the CPU have more operations, whose trace takes memory
    with dispatch.platform("any"), _uncollected():
        try:
            return jax.eval_shape(lambda: model.init(jax.random.key(0), sample()))
        except ZeroDivisionError:  # of an initialiser
            names = [field.name for field in dataclasses.fields(model)]
            none = [f"{name}=0" for name in names if type(value := getattr(model, name)) is int and not value]
            said = f"a layer of {type(model).__name__} has no features"
            raise InputError(f"{said} with {' and '.join(none)}; make it 1 or more" if none else said) from None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a trace makes many objects and no garbage; passes over them are a third of its time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
