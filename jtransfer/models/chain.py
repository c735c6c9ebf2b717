"""A model is a chain of named stages: the one mechanism that every family uses."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.models.loop import Loop

HOW = ("dtype", "scan", "remat")  # fields of a chain that say how it computes, not what


@dataclasses.dataclass(frozen=True)
class Pixels:
    """How images were prepared when the public weights were trained.

    Attributes:
      mean, std: per channel, for pixels in [0, 1].
      crop: side of the central crop as a fraction of the resized image's side.
      interpolation: "bilinear" or "bicubic".
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: float = 0.875
    interpolation: str = "bilinear"


class Tied(NamedTuple):
    """The constructor of a stage that uses parameters of another stage: `make(name=…, <to>=that stage)`.

    Attributes:
      make: constructor, with the other stage as the field of its name.
      to: name of the other stage. What is used of it is made in its `setup`, and keeps its path there.
    """

    make: Callable[..., nn.Module]
    to: str


class Chain(nn.Module):
    """A model that runs its stages one after the other; a family says in `parts` what they are.

    Its input is a pytree: an array of images, or a dict of arrays named as in Hugging Face's transformers for text.

    Attributes:
      num_classes: width of the last stage, "head".
      dtype: of the computation; parameters are float32.
      scan: stages in a row that do the same, such as the layers of a transformer, run as one loop, which compiles them
        once; it costs a copy of their parameters in each call. Variables have the same paths as without. Where
        something is mutable, such as a cache, stages run one after the other all the same.
      remat: what a stage computes inside is computed again for its gradient, in place of being kept; the last stage's
        is kept.
    """

    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    scan: bool = dataclasses.field(default=False, kw_only=True)
    remat: bool = dataclasses.field(default=False, kw_only=True)

    def parts(self) -> Mapping[str, Callable[..., nn.Module] | Tied]:
        """Stage name → constructor of the stage, in order, "head" last. A stage is called as `stage(x, train=…)`.

        A stage that uses the embedding of another one, such as the head of most language models, says so:

            "embed": partial(Embed, …)                # its setup makes self.tokens = nn.Embed(…)
            "head": Tied(partial(Head, …), "embed")   # has the field `embed`, and calls self.embed.tokens.attend(x)

        The parameter is there once, at "embed/tokens/embedding", also where the chain starts at "head".
        """
        raise NotImplementedError

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order, "head" last."""
        return tuple(self.parts())

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the input must look like, as plain data."""
        return {}

    def example_input(self, batch: int = 1) -> Any:
        """Zeros of the input's shapes and dtypes."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        x: Any,
        *,
        train: bool = False,
        start: str | None = None,
        stop: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Any:
        """Runs the stages from `start` (included) to `stop` (excluded); by default all.

        `model(x) == model(model(x, stop=s), start=s)` for every stage s.

        Args:
          x: the input, or what the stage before `start` returned.
          train: batch norm uses the batch's statistics, dropout is on (it takes the random stream "dropout").
          start, stop: names of stages.
          outputs: names of stages that are run.

        Returns:
          What the last stage that is run returns; with `outputs`, a dict of what each of these stages returns.

        Raises:
          InputError: `start` or `stop` is no stage, `stop` comes before `start`, or one of `outputs` is not run.
        """
        parts, made = self.parts(), {}

        def stage(name: str) -> nn.Module:
            if name not in made:
                part = parts[name]
                others = {part.to: stage(part.to)} if isinstance(part, Tied) else {}
                made[name] = getattr(part, "make", part)(name=name, **others)
            return made[name]

        names, returned = segment(tuple(parts), start, stop), {}
        wanted = check_outputs(outputs or (), names)
        loop = Loop(self, train, self.remat) if self.scan and not self._changes() else None
        while names:
            free = next((i for i, name in enumerate(names) if isinstance(parts[name], Tied)), len(names))
            free = next((i for i, name in enumerate(names[:free], 1) if name in wanted), free)
            count = loop.count([(name, parts[name]) for name in names[:free]], x) if loop and free else 1
            first, last = names[0], names[count - 1]
            x = loop.run(names[:count], parts[first], x) if count > 1 else self._run(stage(first), x, train)
            returned |= {last: x} if last in wanted else {}
            names = names[count:]
        return x if outputs is None else returned

    def _changes(self) -> bool:
        return self.is_initializing() or bool(self.scope.mutable)

    def _run(self, stage: nn.Module, x: Any, train: bool) -> Any:
        if self.remat and stage.name != self.stages[-1] and not self.is_initializing():
            return nn.remat(lambda stage, x: stage(x, train=train))(stage, x)
        return stage(x, train=train)


class ImageChain(Chain):
    """A chain that maps images [batch, height, width, channels] to logits float32 [batch, num_classes].

    Attributes:
      image_size: default height and width of the input, in pixels: one number, or two.
      channels: of the input.
      pixels: the preprocessing of the family's public weights.
    """

    image_size: int | tuple[int, int] = 224
    channels: int = 3
    pixels: Pixels = Pixels()

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else tuple(self.image_size)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """`Pixels` and the input's `size` as plain data."""
        return {**dataclasses.asdict(self.pixels), "size": self.image_size}

    def example_input(self, batch: int = 1) -> jnp.ndarray:
        """Zeros of the input's shape and dtype: float32 [batch, height, width, channels]."""
        return jnp.zeros((batch, *self.sides, self.channels), jnp.float32)


def segment(stages: tuple[str, ...], start: str | None, stop: str | None) -> tuple[str, ...]:
    """The stages from `start` (included) to `stop` (excluded); None means the first, and past the last."""
    for name in (start, stop):
        if name is not None and name not in stages:
            raise unknown("stage", name, stages)
    first = 0 if start is None else stages.index(start)
    last = len(stages) if stop is None else stages.index(stop)
    if last < first:
        raise InputError(f"stop={stop!r} comes before start={start!r}; the stages are {', '.join(stages)}")
    return stages[first:last]


def check_outputs(outputs: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The outputs, all of which are stages that are run (`names`). Raises InputError where one is not."""
    for name in outputs:
        if name not in names:
            raise unknown("output stage", name, names)
    return outputs
