"""The images that come with scikit-learn: `sklearn:digits`, 8×8 handwritten digits of 16 shades of grey."""

from collections.abc import Mapping

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source
from jtransfer.modalities.image.pixels import with_channels


def sklearn_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the split "all" of scikit-learn's digits: 1,797 images uint8 [8, 8, channels], with values from 0 to 255.

    Args:
      location: "digits".
      spec: `channels` is 3 or 1.

    Raises:
      InputError: It is another set, or scikit-learn is not installed.
    """
    if location != "digits":
        raise InputError(f"sklearn:{location} has no images; with modality='image' there is sklearn:digits")
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError("sklearn:digits needs scikit-learn: pip install scikit-learn") from None
    images, labels = datasets.load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels, channels = labels.astype(np.int32), spec.get("channels", 3)

    def read(index: int) -> dict:
        return {"image": with_channels(images[index], channels), "label": int(labels[index])}

    names = [str(i) for i in range(10)]
    return {"all": Source(len(images), read, names, lambda start, stop: labels[start:stop])}
