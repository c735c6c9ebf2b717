"""TrivialAugment and AugMix of one image on the host, as in `image_ops`: operations that are drawn, with Pillow."""

import numpy as np
from PIL import Image

from jtransfer.core.errors import InputError
from jtransfer.modalities.image.colour_ops import HostFn
from jtransfer.modalities.image.named_ops import OPERATIONS, SIGNED
from jtransfer.modalities.image.resize_ops import positive

_WIDE = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 32.0, "translate_y": 32.0, "rotate": 135.0} | dict.fromkeys(
    ("brightness", "color", "contrast", "sharpness"), 0.99
)
_COLOURS = ("brightness", "color", "contrast", "sharpness")


def trivial_augment() -> HostFn:
    """Applies one random operation of a random strength, of the wide ranges of the paper.

    References:
      Müller and Hutter, TrivialAugment, arXiv:2103.10158, 2021.
    """

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        name = list(OPERATIONS)[int(rng.integers(len(OPERATIONS)))]
        strength = wide(name, int(rng.integers(31))) * _sign(name, rng)
        return _array(OPERATIONS[name](_picture(image), strength, Image.Resampling.NEAREST), image)

    return apply


def wide(name: str, level: int) -> float:
    """Returns the strength of an operation of TrivialAugment at a level from 0 to 30."""
    if name == "posterize":
        return 8 - round(level / 5)
    if name == "solarize":
        return 255 - 255 * level / 30
    return _WIDE.get(name, 0.0) * level / 30


def augmix(severity: int = 3, width: int = 3, depth: int = 0, alpha: float = 1.0, colours: bool = True) -> HostFn:
    """Mixes an image with several of it that chains of random operations have changed.

    Args:
      severity: The strength, from 1 to 10.
      width: The number of chains.
      depth: The number of operations of each chain; 0 draws it from 1 to 3.
      alpha: Of the Dirichlet and the beta distribution from which the shares are drawn.
      colours: Whether brightness, contrast, colour and sharpness are among the operations, too.

    References:
      Hendrycks et al., AugMix, arXiv:1912.02781, 2019.
    """
    positive(severity, "severity")
    positive(width, "width")
    if severity > 10 or type(depth) is not int or depth < 0 or not alpha > 0:
        raise InputError(f"severity={severity}, depth={depth}, alpha={alpha}: give 1 to 10, 0 or more, above 0")
    names = [name for name in OPERATIONS if name != "identity" and (colours or name not in _COLOURS)]

    def apply(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        own, changed = rng.dirichlet((alpha, alpha))
        mixed = own * image
        for share in rng.dirichlet((alpha,) * width):
            picture = _picture(image)
            for _ in range(depth or int(rng.integers(1, 4))):
                name = names[int(rng.integers(len(names)))]
                strength = severe(name, int(rng.integers(severity)), image.shape[:2]) * _sign(name, rng)
                picture = OPERATIONS[name](picture, strength, Image.Resampling.BILINEAR)
            mixed = mixed + changed * share * _array(picture, image)
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

    return apply


def severe(name: str, level: int, size: tuple[int, int]) -> float:
    """Returns the strength of an operation of AugMix at a level from 0 to 9, for images of a size (height, width)."""
    if name == "posterize":
        return 4 - round(level * 4 / 9)
    if name == "solarize":
        return 255 - 255 * level / 9
    most = {"rotate": 30.0, "translate_x": size[1] / 3, "translate_y": size[0] / 3, "shear_x": 0.3, "shear_y": 0.3}
    return (most | dict.fromkeys(_COLOURS, 0.9)).get(name, 0.0) * level / 9


def _sign(name: str, rng: np.random.Generator) -> int:
    return -1 if name in SIGNED and rng.random() < 0.5 else 1


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _array(picture: Image.Image, like: np.ndarray) -> np.ndarray:
    return np.asarray(picture).reshape(like.shape)
