"""The modality of images: uint8 [H, W, C], transformed on the host as the config says, normalised on the device."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width, shortest
from jtransfer.data.source import Source
from jtransfer.modalities.base import Modality, Transform, no_form
from jtransfer.modalities.image import corruptions, plain, processor_files, transforms
from jtransfer.modalities.image.given import GivenImages
from jtransfer.modalities.image.opening import MOST_PIXELS
from jtransfer.modalities.image.pixels import png
from jtransfer.modalities.image.transforms import Pipeline
from jtransfer.modalities.image.views import two_views
from jtransfer.modalities.returned import Plain
from jtransfer.models.chain import Pixels
from jtransfer.tasks.base import Task

_SMALL = 32  # pixels of the images that `small_model` is given
_LARGE = 1024  # pixels of an image that any crop fits into


@dataclasses.dataclass(frozen=True)
class Image(GivenImages, Modality):
    """Images of colours, of greys, or of any number of channels.

    Attributes:
      image_key: the feature that holds the image, of data sets that name their features; or the column of a CSV file
        that has the paths of images.
      image_dir: the folder that these paths are relative to; "" is that of the CSV file.
      channels: 3; 1 for grey images; 4, which keeps the transparency of files; or the number that arrays [H, W, C]
        have, such as the bands of a satellite.
      range: the values that become black and white in images that are not of 8 bits: (0, 1), (0, 4095); () is what
        their type says, (0, 65535) of 16 bits.
      max_pixels: the most pixels that an image file may have; a larger one counts as one that can't be read.
      broken: "stop" refuses a folder with image files that can't be read; "skip" leaves them out.
      transform: of training images (`transforms.parse`); "" is the model's own size with crops and flips.
      eval_transform: of all other images; "" is `transform` without its random parts or, without that, the model's own.
      strong: of training images, the second view that terms such as "fixmatch" compare with the first; "" is
        `transform` and RandAugment of two operations.
      image_library: what resizes where a transform does not say it: "pillow", which antialiases and crops as the
        library of the weights does; or "opencv", which does not antialias and is several times faster.
    """

    kind: ClassVar[str] = "image"
    nouns: ClassVar[tuple[str, str]] = ("image", "images")
    mixes: ClassVar[tuple[str, ...]] = ("mixup", "cutmix")
    prepares: ClassVar[tuple[str, ...]] = ("channels", "transform", "eval_transform", "image_library")
    corruptions: ClassVar[tuple[str, ...]] = tuple(corruptions.CORRUPTIONS)
    sent: ClassVar[tuple[str, ...]] = ("file",)
    pipelines: ClassVar[Mapping[str, str]] = processor_files.PIPELINES

    image_key: str = "image"
    image_dir: str = ""
    channels: int = 3
    range: Sequence[float] = ()
    max_pixels: int = MOST_PIXELS
    broken: str = "stop"
    transform: str = ""
    eval_transform: str = ""
    strong: str = ""
    image_library: str = "pillow"

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "image" in example

    @classmethod
    def own_preprocess(cls, model: Any) -> Callable[[Any], Any]:
        pixels = getattr(model, "pixels", Pixels())
        return normalize(pixels.mean, pixels.std, getattr(model, "dtype", jnp.float32))

    def model_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        return {"channels": self.channels} if hasattr(model, "channels") else {}

    @classmethod
    def own_files(cls, model: Any, library: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
        if not getattr(model, "preprocessing", {}):
            return {}, []
        pipeline = stated(model)
        if library == "timm":
            fields, notes = processor_files.timm(pipeline, model.pixels.crop)
            return {"config.json": {"pretrained_cfg": fields}}, notes
        content, notes = processor_files.transformers(pipeline, model.channels)
        if content is None:
            return {}, [
                f"no image processor of transformers does {pipeline.text!r}, so that there is no "
                "preprocessor_config.json: give the model images that are prepared so"
            ]
        return {"preprocessor_config.json": content}, notes

    def usual_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        stated = weights.preprocessing(init) if hasattr(model, "pixels") and init != "scratch" else None
        if not stated:
            return {}
        size = {"image_size": stated["size"]} if "size" in stated else {}
        return {"pixels": {key: value for key, value in stated.items() if key != "size"}} | size

    def small_model(self, example: Mapping[str, Any]) -> dict[str, Any]:
        flips = "|flip_lr" if "flip_lr" in transforms.parse(self.transform or "flip_lr").host_text else ""
        fields = {"depths": (1, 1), "image_size": _SMALL}
        own = {"data.transform": f"resize({_SMALL}){flips}", "data.eval_transform": f"resize({_SMALL})"}
        return {"model.name": "resnet18", "model.fields": fields, **own}

    def describe(self, source: Source, task: Task, model: Any, rows: int) -> str:
        """Says where the config's transform is another than that of the weights, or what normalises other channels."""
        own = getattr(model, "preprocessing", None) or dataclasses.asdict(Pixels())
        guessed, given = self._statistics(own), self.pipeline(model, train=False)
        if self.channels not in (1, len(own["mean"])) and (given.mean, given.std) == (guessed.mean, guessed.std):
            return (
                f"images of {self.channels} channels are normalised by the averages of what the weights say of "
                f"{len(own['mean'])}, mean {given.mean[0]:.4g} and std {given.std[0]:.4g}; normalize(…) in "
                "data.transform gives others"
            )
        if not (self.transform or self.eval_transform) or getattr(model, "pixels", Pixels()).transform is None:
            return ""
        chosen, own = self.pipeline(model, train=False), dataclasses.replace(self, transform="", eval_transform="")
        theirs = own.pipeline(model, train=False)
        if (chosen.host_text, chosen.mean, chosen.std) == (theirs.host_text, theirs.mean, theirs.std):
            return ""
        return (
            f"images are evaluated as the config says, {chosen.host_text}, mean {chosen.mean}, std {chosen.std}; the "
            f"weights say {theirs.host_text}, mean {theirs.mean}, std {theirs.std}"
        )

    def make_transform(self, task: Task, model: Any, *, train: bool) -> Transform:
        pipeline = self.pipeline(model, train=train)
        if task.form == "single":
            return pipeline
        if task.form == "pair":
            return two_views(pipeline, self.pipeline(model, train=True))
        raise no_form(self, task)

    def make_strong(self, task: Task, model: Any) -> tuple[str, Transform]:
        if task.form != "single":
            raise no_form(self, task)
        usual = self.pipeline(model, train=True)
        text = self.strong or "|".join(filter(None, (usual.host_text, "randaugment(2, 10)")))
        strong = transforms.parse(text, transforms.Statistics(usual.mean, usual.std), self._unsaid({}))
        strong.check_channels(self.channels)
        if (strong.mean, strong.std) != (usual.mean, usual.std):
            raise InputError("data.strong normalises otherwise than data.transform; leave normalize out of it")
        return strong.host_text, strong

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        pipeline = self.pipeline(model, train=train)
        scaled = normalize(pipeline.mean, pipeline.std, getattr(model, "dtype", jnp.float32))
        return lambda x: scaled(x.reshape(-1, *x.shape[2:]) if x.ndim == 5 else x)

    def with_preprocessing(self, model: Any) -> Any:
        if not hasattr(model, "pixels"):
            return model
        pipeline = self.pipeline(model, train=False)
        changed = {"mean": pipeline.mean, "std": pipeline.std, "transform": pipeline.host_text}
        size = {} if pipeline.size is None else {"image_size": shortest(pipeline.size)}
        return model.clone(pixels=dataclasses.replace(model.pixels, **changed), **size)

    def pipeline(self, model: Any, *, train: bool) -> Pipeline:
        """Returns the transform of training images, or that of all others, with the statistics to normalise by.

        Args:
          model: The Linen module, whose preprocessing is the default.
          train: Whether it is for training.

        Raises:
          InputError: A transform is wrong, or has statistics for another number of channels.
        """
        own = getattr(model, "preprocessing", None) or dataclasses.asdict(Pixels())
        statistics, unsaid = self._statistics(own), self._unsaid(own)
        if train or (self.transform and not self.eval_transform):
            text = self.transform or f"random_resized_crop({_size(own)})|flip_lr"
            pipeline = transforms.parse(text, statistics, unsaid)
            pipeline = pipeline if train else pipeline.deterministic()
        elif self.eval_transform:
            pipeline = transforms.parse(self.eval_transform, statistics, unsaid)
        else:
            pipeline = _evaluation(own, statistics, unsaid)
        if not {len(pipeline.mean), len(pipeline.std)} <= {1, self.channels}:
            raise InputError(
                f"normalize has {len(pipeline.mean)} means, but the images have data.channels={self.channels}"
            )
        pipeline.check_channels(self.channels)
        return pipeline

    def _unsaid(self, own: Mapping[str, Any]) -> transforms.Unsaid:
        if self.image_library == "opencv":
            return transforms.Unsaid("opencv")
        return transforms.Unsaid(self.image_library, own.get("rounding", "even"))

    def blanks(self, task: Task) -> Sequence[str | bytes]:
        return [png(np.zeros((_LARGE, _LARGE, self.channels), np.uint8))] if self.channels in (1, 3, 4) else ()

    def corrupt(self, example: Mapping[str, Any], how: str, severity: int, rng: np.random.Generator) -> dict[str, Any]:
        return {**example, "image": corruptions.CORRUPTIONS[how](example["image"], severity, rng)}

    def plain_features(self, train: Sequence[Mapping[str, Any]]) -> Plain:
        return plain.pixels([example["image"] for example in train])

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        image = example["image"]
        return {"picture": image if image.shape[2] in (1, 3) else image[..., : 3 if image.shape[2] > 3 else 1]}

    def parts(self, inputs: Any) -> dict[str, Any]:
        return self.show({"image": inputs}) if getattr(inputs, "ndim", 0) == 3 and inputs.dtype == np.uint8 else {}

    def _statistics(self, own: Mapping[str, Any]) -> transforms.Statistics:
        mean, std = own["mean"], own["std"]
        if self.channels != len(mean):
            mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
        return transforms.Statistics(tuple(mean), tuple(std))


def stated(model: Any) -> Pipeline:
    """Returns the transform of images for evaluation that a model's preprocessing states, for the size that it states.

    That may be another size than the model's `image_size`, which tells the shapes of parameters.

    Args:
      model: The Linen module, with `preprocessing` and `channels`.
    """
    own = dict(model.preprocessing)
    if own.get("transform") is not None:
        own.pop("size", None)
    usual = Image(channels=model.channels)
    return _evaluation(own, usual._statistics(own), usual._unsaid(own))


def normalize(mean: Any = (0.0,), std: Any = (1.0,), dtype: Any = jnp.float32) -> Callable[[Any], Any]:
    """Returns a function that normalises images: uint8 [B, H, W, C] → `(image / 255 - mean) / std`.

    The function computes in float32, and leaves what is not uint8 as it is.

    Args:
      mean: One number, or one for each channel, for pixels in [0, 1].
      std: Likewise.
      dtype: The dtype of the result.
    """
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    scale, shift = 1 / (255 * jnp.asarray(std)), jnp.asarray(mean) / jnp.asarray(std)

    def preprocess(image: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        return (image * scale - shift).astype(dtype) if image.dtype == jnp.uint8 else image

    return preprocess


def _size(own: Mapping[str, Any]) -> Any:
    if "size" not in own:
        raise InputError("the model does not say the size of its images; give data.transform, such as 'resize(32)'")
    return own["size"]


def _evaluation(own: Mapping[str, Any], statistics: transforms.Statistics, unsaid: transforms.Unsaid) -> Pipeline:
    """The transform that the model's preprocessing states, for the size of its images. Where it states none, the share
    `crop` of each side is left for the model; of an aspect that is not square, the largest part of the image that has
    it is looked at."""
    if own.get("transform") is not None:
        stated = transforms.parse(own["transform"], statistics, unsaid)
        return stated.scaled(height_width(own["size"])) if "size" in own else stated
    size = _size(own)
    height, width = (round(side / own["crop"]) for side in height_width(size))
    method = own["interpolation"]
    oblong = "resize_crop" if unsaid.library == "opencv" else "resize_cover"
    resized = f"resize_short({height}, '{method}')" if height == width else f"{oblong}({height, width}, '{method}')"
    return transforms.parse(f"{resized}|center_crop({size})", statistics, unsaid)
