"""The sets of vectors that come with scikit-learn."""

from collections.abc import Mapping

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.source import Source

SETS = ("iris", "wine", "breast_cancer", "digits", "diabetes")


def sklearn_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """The split "all" of scikit-learn's `load_<location>`, in its order: that of iris and wine is by class.

    All are for classification, but for diabetes, whose label is a number.

    Raises:
      InputError: another set, or scikit-learn is not installed.
    """
    if location not in SETS:
        raise unknown("set of scikit-learn", location, SETS)
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(f"sklearn:{location} needs scikit-learn: pip install scikit-learn") from None
    found = getattr(datasets, f"load_{location}")()
    vectors = found.data.astype(np.float32)
    kind = "number" if found.target.dtype.kind == "f" else "class"
    labels = found.target.astype(np.float32 if kind == "number" else np.int32)

    def read(index: int) -> dict:
        return {"vector": vectors[index], "label": labels[index].item()}

    names = ["label"] if kind == "number" else [str(name) for name in found.target_names]
    return {"all": Source(len(vectors), read, names, lambda start, stop: labels[start:stop], kind)}
