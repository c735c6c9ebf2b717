"""What terms look at: features of streams as vectors, and streams that a term can't do without."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.objectives.term import FEATURES, TARGET, Context, View

HEAD = "head"  # the name of what a model returns


class Domains(NamedTuple):
    """Two streams whose features a term compares at a stage.

    Attributes:
      term: its name, for errors.
      source, target: the streams.
      at: the stage.
    """

    term: str
    source: str
    target: str
    at: str

    @property
    def needs(self) -> tuple[str, ...]:
        """What a term has to ask of the step for them."""
        return (f"{FEATURES}{self.at}",)

    def features(self, view: View) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """Returns the features [B, d] of source and target, and their masks [B]."""
        first, second = (vectors(view, name, self.at) for name in (self.source, self.target))
        if first.shape[1] != second.shape[1]:
            raise InputError(
                f"objective: {self.term!r} compares the stage {self.at!r} of the streams {self.source!r} and "
                f"{self.target!r}, which returns {first.shape[1]} numbers for one and {second.shape[1]} for the other; "
                "make their inputs of one shape, or name another stage with `at`"
            )
        return (first, second), (view.batch[self.source]["mask"], view.batch[self.target]["mask"])

    def logits(self, view: View) -> tuple[Any, Any]:
        """Returns the model's outputs for source and target."""
        (first, _), (second, _) = (predicted(view, name) for name in (self.source, self.target))
        return first, second


def domains(context: Context, term: str, source: str, target: str, at: str) -> Domains:
    """Returns the two streams that a term compares.

    Args:
      context: of the term.
      term: its name.
      source, target: the streams' names.
      at: the stage; "" is the one before the head.

    Raises:
      InputError: there is no such stream, or the model has no stages and none is named.
    """
    for name in (source, target):
        check_stream(context, term, name)
    if source == target:
        raise InputError(f"objective: {term!r} compares two streams; source and target both are {source!r}")
    return Domains(term, source, target, stage(context, term, at))


def check_stream(context: Context, term: str, name: str) -> None:
    """Checks that a run has a stream.

    Raises:
      InputError: it has none of this name.
    """
    if name not in context.streams:
        told = f"config.streams has {', '.join(key for key in context.streams if key != TARGET) or 'none'}"
        raise InputError(f"objective: {term!r} needs the stream {name!r}; {told}")


def stage(context: Context, term: str, at: str) -> str:
    """Returns the stage that a term looks at; "" is the one before the head.

    Raises:
      InputError: the model has no stages and none is named.
    """
    before = list(getattr(context.model, "stages", ()))[:-1]
    if not at and not before:
        raise InputError(f"objective: {term!r} needs `at`, the path of a submodule, for a model without stages")
    return at or before[-1]


def vectors(view: View, stream: str, at: str) -> Float[Array, "B d"]:
    """Returns what a stage returned for a stream's examples, one float32 vector each; maps are flattened.

    Raises:
      InputError: the step has no examples of the stream, or the stage returns something else than one array.
    """
    return flat(outputs_of(view, stream)[at], at)


def flat(x: Any, at: str) -> Float[Array, "B d"]:
    """Returns what a stage returned as float32 vectors, one for each example; maps are flattened.

    Raises:
      InputError: it is something else than one array.
    """
    if not hasattr(x, "reshape"):
        raise InputError(f"a term needs one array of each example, and the stage {at!r} returns {', '.join(x)}")
    return x.reshape(len(x), -1).astype(jnp.float32)


def predicted(view: View, stream: str) -> tuple[Any, Any]:
    """Returns the model's outputs for a stream's examples, and their mask [B].

    Raises:
      InputError: the step has no examples of the stream.
    """
    return outputs_of(view, stream)[HEAD], view.batch[stream]["mask"]


def outputs_of(view: View, stream: str) -> Mapping[str, Any]:
    """Returns what the stages returned for a stream's examples.

    Raises:
      InputError: the step has no examples of the stream.
    """
    if stream not in view.outputs:
        raise InputError(f"a term looks at the stream {stream!r} in each step; set mixing.mode='batch'")
    return view.outputs[stream]
