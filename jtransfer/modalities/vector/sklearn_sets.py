"""Reads the sets of vectors that come with scikit-learn."""

from collections.abc import Mapping

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.source import Source

SETS = ("iris", "wine", "breast_cancer", "digits", "diabetes")


def sklearn_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the split "all" of a set of scikit-learn, in its own order, which in iris and wine is by class.

    The label of diabetes is a number; those of all others are classes.

    Args:
      location: The name of the set: "iris", "wine", "breast_cancer", "digits" or "diabetes".
      spec: As for `data.open`.

    Raises:
      InputError: There is no such set, or scikit-learn is not installed.
    """
    if location not in SETS:
        raise unknown("set of scikit-learn", location, SETS)
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(f"sklearn:{location} needs scikit-learn: pip install scikit-learn") from None
    bunch = getattr(datasets, f"load_{location}")()
    vectors = bunch.data.astype(np.float32)
    kind = "number" if bunch.target.dtype.kind == "f" else "class"
    labels = bunch.target.astype(np.float32 if kind == "number" else np.int32)

    def read(index: int) -> dict:
        return {"vector": vectors[index], "label": labels[index].item()}

    names = ["label"] if kind == "number" else [str(name) for name in bunch.target_names]
    return {"all": Source(len(vectors), read, names, lambda start, stop: labels[start:stop], kind)}
