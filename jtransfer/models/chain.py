"""Models as chains of named stages, the base of every family."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.image_size import height_width
from jtransfer.core.tree import as_tuples
from jtransfer.layers import places
from jtransfer.layers.types import DType
from jtransfer.models.head import Embedding
from jtransfer.models.loop import Loop
from jtransfer.models.paths import HEAD

HOW = ("dtype", "scan", "remat")  # fields of a chain that say how it computes, not what
HEADS = ("classify", "embed")  # of models of images


@dataclasses.dataclass(frozen=True)
class Pixels:
    """How images are prepared for a model: as they were when its public weights were trained.

    Attributes:
      mean: The mean of each channel, which is subtracted from pixels in [0, 1].
      std: The standard deviation of each channel, by which they are divided then.
      crop: The side of the central crop, as a fraction of the side of the resized image.
      interpolation: How images are resized: "bilinear" or "bicubic".
      transform: The exact transform of images for evaluation, as text without `normalize`, such as "resize(224,
        'bicubic', 'pillow')", where a source or a run says it; for images of another size, the sizes in it are scaled.
        None means that it follows from `crop` and `interpolation`.
      rounding: Of half the margin of a central crop, where it is no whole number and the transform does not say it:
        "even", to the even number, as in torchvision and timm; or "down", as in transformers.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: float = 0.875
    interpolation: str = "bilinear"
    transform: str | None = None
    rounding: str = "even"

    @classmethod
    def of(cls, content: "Mapping[str, Any] | Pixels") -> "Pixels":
        """Returns the preprocessing that plain data, such as a config's, describe.

        Args:
          content: The fields by name, with lists for tuples; or a `Pixels`, which is returned as it is.

        Raises:
          InputError: There is no such field.
        """
        if isinstance(content, Pixels):
            return content
        known = [field.name for field in dataclasses.fields(cls)]
        for key in content:
            if key not in known:
                raise unknown("field of pixels", key, known)
        return cls(**{key: as_tuples(value) for key, value in content.items()})


class Tied(NamedTuple):
    """The constructor of a stage that uses parameters of another stage, called as `make(name=…, <to>=that stage)`.

    Attributes:
      make: The constructor. The stage has a field that has the name of the other stage.
      to: The name of the other stage. What is used of it is made in its `setup`, and keeps its path there.
    """

    make: Callable[..., nn.Module]
    to: str


class Chain(nn.Module):
    """A model that runs its stages one after the other. A subclass says in `parts` what they are.

    The input is a pytree: an array of images, or a dict of arrays that are named as in Hugging Face's transformers.

    Attributes:
      takes: The kinds of input that the class takes: "image", "text", or both. Not a field.
      num_classes: The number of outputs of the last stage, "head".
      dtype: The dtype of the computation; parameters are float32.
      scan: Whether stages in a row that compute the same, such as the layers of a transformer, run as one loop. The
        compiler then sees them once; it costs a copy of their parameters in each call. The paths of variables are the
        same either way. Where a collection is mutable, such as a cache, there is no loop.
      remat: Whether what a stage computes inside is computed again for its gradient instead of being kept. What the
        last stage computes is kept in any case.
    """

    takes = ()

    num_classes: int = 1000
    dtype: DType = jnp.float32
    scan: bool = dataclasses.field(default=False, kw_only=True)
    remat: bool = dataclasses.field(default=False, kw_only=True)

    def parts(self) -> Mapping[str, Callable[..., nn.Module] | Tied]:
        """The constructors of the stages by name, in order, "head" last. Subclasses override this method.

        A stage is called as `stage(x, train=…)`. One that uses the embedding of another stage, such as the head of most
        language models, says so:

            "embed": partial(Embed, …)                # its setup makes self.tokens = nn.Embed(…)
            "head": Tied(partial(Head, …), "embed")   # has the field `embed`, and calls self.embed.tokens.attend(x)

        The parameter exists once, at "embed/tokens/embedding", also where the chain starts at "head".
        """
        raise NotImplementedError

    def constructors(self) -> Mapping[str, Callable[..., nn.Module] | Tied]:
        """The constructors of the stages that the model has, those of `parts` or what fields put in their place."""
        return self.parts()

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order, "head" last."""
        return tuple(self.constructors())

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How the input must be prepared, as plain data; empty where the model does not say it."""
        return {}

    def example_input(self, batch: int = 1) -> Any:
        """Zeros of the shapes and dtypes of an input with `batch` examples."""
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
        """Runs the stages from `start` (included) to `stop` (excluded), by default all.

        `model(x) == model(model(x, stop=s), start=s)` for every stage s.

        Args:
          x: The input, or what the stage before `start` returned.
          train: Whether batch norm uses the statistics of the batch, and dropout is on, with the random stream
            "dropout".
          start: The name of the first stage to run; None means the first of all.
          stop: The name of the first stage not to run; None means that all the rest run.
          outputs: Names of stages that are run, whose outputs are wanted.

        Returns:
          What the last stage that was run returned; with `outputs`, a dict of what each of these stages returned.

        Raises:
          InputError: `start` or `stop` is no stage, `stop` comes before `start`, or one of `outputs` is not run.
        """
        parts, made = self.constructors(), {}
        untied = {name: part for name, part in parts.items() if not isinstance(part, Tied)}

        def stage(name: str) -> nn.Module:
            if name not in made:
                part = parts[name]
                tied = isinstance(part, Tied)
                made[name] = part.make(name=name, **{part.to: stage(part.to)}) if tied else part(name=name)
            return made[name]

        names, returned = segment(tuple(parts), start, stop), {}
        wanted = check_outputs(outputs or (), names)
        loop = Loop(self, train, self.remat) if self.scan and not self._changes() else None
        examples = next((jnp.shape(leaf)[0] for leaf in jax.tree.leaves(x) if jnp.ndim(leaf)), 0)
        while names:
            free = next((i for i, name in enumerate(names) if name not in untied), len(names))
            free = next((i for i, name in enumerate(names[:free], 1) if name in wanted), free)
            count = loop.count([(name, untied[name]) for name in names[:free]], x) if loop and free else 1
            first, last = names[0], names[count - 1]
            x = loop.run(names[:count], untied[first], x) if loop and count > 1 else self._run(stage(first), x, train)
            x = places.examples_stay(x, examples)
            returned |= {last: x} if last in wanted else {}
            names = names[count:]
        return x if outputs is None else returned

    def _changes(self) -> bool:
        return self.is_initializing() or self.scope is None or bool(self.scope.mutable)

    def _run(self, stage: nn.Module, x: Any, train: bool) -> Any:
        if self.remat and stage.name != self.stages[-1] and not self.is_initializing():
            return nn.remat(lambda stage, x: stage(x, train=train))(stage, x)
        return stage(x, train=train)


class ImageChain(Chain):
    """A chain that maps images [batch, height, width, channels] to logits or to embeddings.

    Attributes:
      image_size: Height and width of the input in pixels: one number, or two.
      channels: The number of channels of the input.
      pixels: How images are prepared for the family's public weights.
      head: "classify", the model ends with its classifier, which gives logits float32 [batch, num_classes]; or "embed",
        it ends with the features before the classifier, float32 [batch, features], and "head" has no parameters.
      normalize: Whether embeddings are divided by their length.
    """

    takes = ("image",)
    image_size: int | tuple[int, int] = 224
    channels: int = 3
    pixels: Pixels = Pixels()
    head: str = dataclasses.field(default="classify", kw_only=True)
    normalize: bool = dataclasses.field(default=True, kw_only=True)

    def constructors(self) -> Mapping[str, Callable[..., nn.Module] | Tied]:
        """The constructors of `parts`, with an embedding in place of the classifier where `head` says so.

        Raises:
          InputError: There is no such head.
        """
        if self.head not in HEADS:
            raise unknown("head", self.head, HEADS)
        embed = {HEAD: partial(Embedding, self.normalize)} if self.head == "embed" else {}
        return {**self.parts(), **embed}

    @property
    def headless(self) -> bool:
        """Whether the model ends with the features before its classifier."""
        return self.head == "embed"

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return height_width(self.image_size)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fields of `Pixels`, and the `size` of the input, as plain data."""
        return {**dataclasses.asdict(self.pixels), "size": self.image_size}

    def example_input(self, batch: int = 1) -> jnp.ndarray:
        """Images of zeros, float32 [batch, height, width, channels]."""
        return jnp.zeros((batch, *self.sides, self.channels), jnp.float32)


def segment(stages: tuple[str, ...], start: str | None, stop: str | None) -> tuple[str, ...]:
    """The names of the stages from `start` (included) to `stop` (excluded).

    Args:
      stages: The names of all stages in order.
      start: None means the first stage.
      stop: None means the end.

    Raises:
      InputError: `start` or `stop` is no stage, or `stop` comes before `start`.
    """
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
