"""What the `pretrained_cfg` in timm's config.json says of images, as timm's `create_transform` does it."""

import math
from collections.abc import Mapping
from typing import Any

from jtransfer.core.image_size import height_width, shortest
from jtransfer.weights.identify.stated_pixels import RESAMPLE, Unreadable, call, floats, stated

MODES = ("center", "squash", "border")
_USUAL = {
    "input_size": [3, 224, 224],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "crop_mode": "center",
    "fill_color": None,
}
_INERT = frozenset(
    (
        *("test_input_size", "test_crop_pct", "min_input_size", "fixed_input_size", "pool_size", "num_classes"),
        *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag"),
        *("custom_load", "first_conv", "classifier", "license", "description", "origin_url", "paper_name"),
        *("paper_ids", "notes", "label_offset", "label_names", "label_descriptions", "num_features", "global_pool"),
        *("model_args", "pretrained_cfg", "dataset", "library_name", "model_type", "architectures"),
    )
)
"""Keys that change no pixel at the size `input_size`, at which timm prepares images unless it is asked for another."""


def read(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what timm does to images, as a model's `preprocessing` says it.

    Args:
      content: the `pretrained_cfg`. OpenCLIP's preprocessing has the same form, with the key `fill_color` beside.

    Raises:
      Unreadable: timm does what no transform here does.
    """
    for key, value in content.items():
        if key not in _USUAL and key not in _INERT and value not in (None, False):
            raise Unreadable(f"{key}={value!r:.80}")
    given = _USUAL | {key: value for key, value in content.items() if value}
    method = RESAMPLE.get(given["interpolation"])
    if method is None or given["interpolation"].isdigit():
        raise Unreadable(f"interpolation={given['interpolation']!r:.80}")
    mean, std, share = floats(given["mean"]), floats(given["std"]), float(given["crop_pct"])
    size = height_width(given["input_size"][-2:])
    calls = _calls(given["crop_mode"], size, share, method, content.get("fill_color"), mean)
    return stated(mean, std, share, method, calls, size)


def _calls(
    mode: str, size: tuple[int, int], share: float, method: str, fill: Any, mean: tuple[float, ...]
) -> list[str]:
    resized, how = tuple(math.floor(side / share) for side in size), (method, "pillow")
    value = (0,) if resized[0] < size[0] or resized[1] < size[1] else ()
    crop = call("center_crop", shortest(size), *value)
    if mode == "squash":
        return [call("resize", shortest(resized), *how), *([crop] if resized != size else [])]
    if mode == "border":
        colour = tuple(round(255 * part) for part in mean) if fill is None else fill
        return [call("resize_fit", shortest(resized), *how), call("center_crop", shortest(size), colour)]
    if mode != "center":
        raise Unreadable(f"crop_mode={mode!r:.80}")
    whole = resized[0] == resized[1]
    return [call("resize_short" if whole else "resize_cover", resized[0] if whole else resized, *how), crop]
