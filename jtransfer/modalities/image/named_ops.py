"""The operations of AutoAugment's kin by name and strength, on a picture of Pillow, as torchvision defines them."""

from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageOps

Picture = Image.Image


def _moved(picture: Picture, matrix: tuple[float, ...], method: Image.Resampling) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, method)


def _enhanced(kind: type) -> Callable[[Picture, float, Image.Resampling], Picture]:
    return lambda picture, strength, method: kind(picture).enhance(1 + strength)


OPERATIONS: dict[str, Callable[[Picture, float, Image.Resampling], Picture]] = {
    "identity": lambda picture, strength, method: picture,
    "shear_x": lambda picture, strength, method: _moved(picture, (1, strength, 0, 0, 1, 0), method),
    "shear_y": lambda picture, strength, method: _moved(picture, (1, 0, 0, strength, 1, 0), method),
    "translate_x": lambda picture, strength, method: _moved(picture, (1, 0, -int(strength), 0, 1, 0), method),
    "translate_y": lambda picture, strength, method: _moved(picture, (1, 0, 0, 0, 1, -int(strength)), method),
    "rotate": lambda picture, strength, method: picture.rotate(strength, method),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterize": lambda picture, strength, method: ImageOps.posterize(picture, int(strength)),
    "solarize": lambda picture, strength, method: ImageOps.solarize(picture, int(strength)),
    "autocontrast": lambda picture, strength, method: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength, method: ImageOps.equalize(picture),
}
"""Name → the function of a picture, a strength and an interpolation to a picture."""

SIGNED = frozenset(
    ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
)
"""The names of those whose strength has a sign, which is drawn."""
