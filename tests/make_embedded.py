"""Cuts the set that ships in the package out of Fashion-MNIST as TFDS prepared it.

    TFDS_DATA_DIR=… python tests/make_embedded.py

The first 100 examples of each class in the order of the file, training and test split, are kept in that order.
"""

from pathlib import Path

import numpy as np

from jtransfer import data

PER_CLASS = 100
DESTINATION = Path(data.__file__).parent / "embedded" / "fashion_mnist.npz"


def first_of_each_class(source: data.Source) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 28, 28] and uint8 [N]."""
    chosen = np.concatenate([np.flatnonzero(source.labels == k)[:PER_CLASS] for k in range(len(source.class_names))])
    chosen.sort()
    images = np.stack([source[i]["image"][..., 0] for i in chosen])
    return images, source.labels[chosen].astype(np.uint8)


def main() -> None:
    spec = {"name": "fashion_mnist", "channels": 1}
    train, test = data.open(spec, "train"), data.open(spec, "test")
    x_train, y_train = first_of_each_class(train)
    x_test, y_test = first_of_each_class(test)
    np.savez_compressed(
        DESTINATION, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, class_names=train.class_names
    )
    print(f"{DESTINATION}: {DESTINATION.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
