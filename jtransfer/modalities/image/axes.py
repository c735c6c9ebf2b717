"""The order of the axes of arrays of images."""

import numpy as np

_CHANNELS = (1, 3, 4)


def channels_last(images: np.ndarray, channels: int = 3) -> tuple[np.ndarray, str]:
    """Returns images as [N, H, W, C], and what a user is told of it, or "".

    The last axis is that of the channels if it has 1, 3, 4 or so many as are asked for; otherwise the second is, if it
    has, as PyTorch orders them, [N, C, H, W], and the axes are moved without a copy. Others, such as [N, H, W], are
    returned as they are.

    Args:
      images: An array of images of any dtype.
      channels: how many are asked for.
    """
    known = (channels,) if channels not in _CHANNELS else _CHANNELS
    if images.ndim != 4:
        return images, ""
    shape = list(images.shape)
    said = f"images [N, {shape[1]}, {shape[2]}, {shape[3]}] are taken as"
    if shape[3] not in known and shape[1] in known:
        return np.moveaxis(images, 1, 3), f"{said} [N, C, H, W]: the second axis has the channels"
    if shape[3] in known and shape[1] in known and shape[1] < shape[2]:
        return images, f"{said} [N, H, W, C]: the last axis has the channels"
    return images, ""
