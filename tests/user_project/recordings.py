"""A data set: recordings of 64 samples, a tone or noise, made from their number."""

import numpy as np

from jtransfer.data import Source

CLASSES = ["noise", "tone"]
LENGTH = 64


def recording(number):
    rng = np.random.default_rng(number)
    tone = np.sin(2 * np.pi * (rng.uniform(3, 6) * np.arange(LENGTH) / LENGTH + rng.uniform()))
    return (rng.normal(size=LENGTH) * 0.4 + (number % 2) * tone).astype(np.float32)


def splits(spec):
    """Split → examples `{"signal": float32 [64], "label": int}`."""

    def source(first, size):
        labels = (np.arange(first, first + size) % 2).astype(np.int32)

        def read(i):
            return {"signal": recording(first + i), "label": int(labels[i])}

        return Source(size, read, CLASSES, lambda start, stop: labels[start:stop])

    return {"train": source(0, 256), "validation": source(1000, 32), "test": source(2000, 64)}
