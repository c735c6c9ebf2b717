"""How other libraries prepare images for an exported model: what the transform of a run is in their files."""

import math
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.modalities.image.image_ops import pair
from jtransfer.modalities.image.transforms import Call, Pipeline

PIPELINES = {  # task → what the Hugging Face hub calls models for it
    **dict.fromkeys(("classify", "multi_label"), "image-classification"),
    "embed": "image-feature-extraction",
}
_RESAMPLE = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # of transformers
_INTERPOLATION = {"nearest-exact": "nearest", "area": "box"}  # of timm, where it has another word
_ANTIALIASED = ("bilinear", "bicubic", "lanczos", "area", "hamming")


class Steps(NamedTuple):
    """A transform of one resizing and one central crop, each of which may be missing."""

    resize: Call | None
    crop: Call | None

    @property
    def method(self) -> str:
        """The interpolation."""
        return self.resize.arguments.get("method", "bilinear") if self.resize else "bilinear"

    @property
    def resized(self) -> tuple[int, int] | None:
        """The size that is resized to, (height, width); of `resize_short`, twice the shorter side."""
        return pair(self.resize.arguments["size"]) if self.resize else None

    @property
    def cropped(self) -> tuple[int, int] | None:
        """The size that is cut out, (height, width)."""
        return pair(self.crop.arguments["size"]) if self.crop else None

    @property
    def margins(self) -> tuple[int, ...] | None:
        """How much is cut off of height and width; None where that depends on the image."""
        if not self.resize or not self.crop or not self.resized or not self.cropped:
            return None if self.crop else ()
        known = self.resize.name in ("resize", "resize_crop")
        return tuple(a - b for a, b in zip(self.resized, self.cropped, strict=True)) if known else None

    @property
    def fill(self) -> Any:
        """What is added around an image that is smaller than the crop; None if there may be no such image."""
        return self.crop.arguments.get("value") if self.crop else None


def transformers(pipeline: Pipeline, channels: int = 3) -> tuple[dict[str, Any] | None, list[str]]:
    """Returns the content of preprocessor_config.json that does what a transform does.

    Args:
      pipeline: the transform of images for evaluation, with the statistics that they are normalised by.
      channels: of the images.

    Returns:
      The content, or None where no image processor does that; and lines that say in what the pixels are others.
    """
    steps = _steps(pipeline)
    sizes = _sizes_of_transformers(steps) if steps else None
    if steps is None or sizes is None or steps.fill not in (None, 0) or steps.method not in _RESAMPLE:
        return None, []
    size, crop = sizes
    kind = "Bit" if "shortest_edge" in size or not size else "DeiT" if crop else "ViT"
    content = {
        "image_processor_type": f"{kind}ImageProcessor",
        "do_resize": bool(size),
        **({"size": size} if size else {}),
        "resample": _RESAMPLE[steps.method],
        "do_center_crop": crop is not None,
        **({"crop_size": dict(zip(("height", "width"), crop, strict=True))} if crop else {}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pipeline.mean),
        "image_std": list(pipeline.std),
    }
    notes = _notes("transformers", steps, "down", "nearest-exact")
    if channels == 1:
        content["do_convert_rgb"] = False
        notes.append("the model takes grey images: give transformers' processor images of one channel")
    return content, notes


def timm(pipeline: Pipeline, crop_pct: float) -> tuple[dict[str, Any], list[str]]:
    """Returns the fields of `pretrained_cfg` with which timm's `create_transform` does what a transform does.

    Args:
      pipeline: as for `transformers`.
      crop_pct: the share of each side that is left by the crop, where that is known; one that gives the same sizes is
        found otherwise.

    Returns:
      The fields, and lines that say in what the pixels are others.

    Raises:
      InputError: timm does nothing of the kind.
    """
    steps, size = _steps(pipeline), pipeline.size
    mode = _mode_of_timm(steps, pipeline) if steps else None
    share = _share(size, steps.resized, crop_pct) if mode and steps and steps.resized and size else None
    if mode is None or share is None or steps is None:
        raise InputError(
            f"timm has no transform that does {pipeline.text or 'nothing to images'!r}; export the run in another "
            "format, or train one with data.eval_transform='resize_short(…)|center_crop(…)' or 'resize(…)'"
        )
    fields = {
        "mean": list(pipeline.mean),
        "std": list(pipeline.std),
        "crop_pct": share,
        "crop_mode": mode,
        "interpolation": _INTERPOLATION.get(steps.method, steps.method),
    }
    return fields, _notes("timm", steps, "even", "nearest")


def _steps(pipeline: Pipeline) -> Steps | None:
    calls = [one for call in pipeline.calls for one in _parts(call)]
    crop = calls.pop() if calls and calls[-1].name == "center_crop" else None
    resize = calls.pop() if calls and calls[-1].name.startswith("resize") else None
    if calls:
        return None
    return Steps(resize, crop)


def _parts(call: Call) -> list[Call]:
    """The call; or, of one that resizes and then cuts out the centre, the two."""
    if call.name != "resize_crop" or call.arguments["library"] == "opencv":
        return [call]
    height, width = pair(call.arguments["size"])
    name, size = ("resize_short", height) if height == width else ("resize_cover", (height, width))
    resize = {"size": size, **{key: call.arguments[key] for key in ("method", "library") if key in call.arguments}}
    crop = {"size": (height, width), "rounding": call.arguments["rounding"]}
    return [Call(name, resize, call.fn), Call("center_crop", crop, call.fn)]


def _sizes_of_transformers(steps: Steps) -> tuple[dict[str, int], tuple[int, int] | None] | None:
    """The fields `size` and `crop_size`."""
    crop = steps.cropped
    if steps.resize is None or steps.resized is None:
        return {}, crop
    name, (height, width) = steps.resize.name, steps.resized
    if name == "resize":
        return {"height": height, "width": width}, crop
    if name == "resize_fit" or height != width:
        return None
    return {"shortest_edge": height}, crop or ((height, width) if name == "resize_crop" else None)


def _mode_of_timm(steps: Steps, pipeline: Pipeline) -> str | None:
    name = steps.resize.name if steps.resize else ""
    square = steps.cropped is None or steps.cropped[0] == steps.cropped[1]
    if name == "resize_fit":
        colour = tuple(round(255 * value) for value in pipeline.mean)
        return "border" if _colour(steps.fill, len(colour)) == colour else None
    if steps.fill not in (None, 0) or (name == "resize_short" and not square):
        return None
    return {"resize": "squash", "resize_short": "center", "resize_cover": "center", "resize_crop": "center"}.get(name)


def _colour(value: Any, channels: int) -> tuple[int, ...] | None:
    return (value,) * channels if isinstance(value, int) else None if value is None else tuple(value)


def _share(size: tuple[int, int], resized: tuple[int, int], known: float) -> float | None:
    """The crop_pct at which timm resizes to `resized`."""
    for share in (known, *(round(size[0] / resized[0], digits) for digits in range(2, 9)), size[0] / resized[0]):
        for nearby in (share, math.nextafter(share, 0)):
            if tuple(math.floor(side / nearby) for side in size) == resized:
                return nearby
    return None


def _notes(library: str, steps: Steps, rounding: str, nearest: str) -> list[str]:
    """In what the pixels of a library are others, as lines."""
    notes, name = [], steps.resize.name if steps.resize else ""
    opencv = steps.resize is not None and steps.resize.arguments["library"] == "opencv"
    if opencv and steps.method in _ANTIALIASED:
        notes.append(
            f"{library} resizes with Pillow's antialiasing and this model saw OpenCV's images: pixels differ where "
            "images shrink, which library='pillow' avoids"
        )
    oblong = steps.resized is not None and steps.resized[0] != steps.resized[1]
    if name == "resize_crop" or (name == "resize_cover" and not (library == "timm" and oblong)):
        notes.append(f"{library} resizes, then crops, where {name} does otherwise: pixels differ by parts of a pixel")
    given = steps.crop.arguments.get("rounding", "even") if steps.crop else rounding
    odd = steps.margins is None or any(margin % 2 for margin in steps.margins)
    if name != "resize_crop" and given != rounding and odd:
        notes.append(
            f"{library} rounds odd margins of a crop otherwise: some crops are a pixel aside, which "
            f"center_crop(…, rounding={rounding!r}) in data.eval_transform avoids"
        )
    if steps.method in ("nearest", "nearest-exact") and steps.method != nearest:
        notes.append(f"{library} takes another pixel where two are as near, which {nearest!r} avoids")
    return notes
