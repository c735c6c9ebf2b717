"""What features and labels must be, told in one line each."""

import numpy as np
from jax import dtypes
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError


def finite(features: ArrayLike, name: str = "features") -> np.ndarray:
    """Returns features as float [N, D]: float64 where JAX has it and they have it, else float32.

    Args:
      features: The features.
      name: What they are called in an error.

    Raises:
      InputError: They are no [N, D], there is none, or one is no finite number.
    """
    given = np.asarray(features)
    if given.ndim != 2 or not given.size:
        raise InputError(f"{name} are {list(given.shape)}; give [N, D], a vector for each example")
    kept = given if given.dtype == np.float64 else given.astype(np.float32)
    found = kept.astype(dtypes.canonicalize_dtype(kept.dtype))
    if wrong := np.flatnonzero(~np.isfinite(found).all(1)).tolist():
        raise InputError(f"the {name} of example {wrong[0]} and {len(wrong) - 1} others are not finite numbers")
    return found


def labelled(
    features: ArrayLike, labels: ArrayLike, num_classes: int | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns features [N, D], classes int32 [N], and the number of classes.

    Args:
      features: As `finite` takes them.
      labels: The classes in [0, num_classes).
      num_classes: None is the greatest label and one.

    Raises:
      InputError: They don't fit each other, or there is one class only.
    """
    x, y = finite(features), np.asarray(labels)
    if y.shape != x.shape[:1]:
        raise InputError(f"labels are {list(y.shape)} for {len(x)} examples; give one class for each")
    if y.dtype.kind not in "iu":
        raise InputError(f"labels are {y.dtype}; give whole numbers, the classes")
    count = int(y.max()) + 1 if num_classes is None else num_classes
    if y.min() < 0 or y.max() >= count:
        raise InputError(f"labels are from {y.min()} to {y.max()}; give classes from 0 to {count - 1}")
    if len(np.unique(y)) < 2:
        raise InputError(f"all {len(y)} examples are of class {y[0]}; a probe needs two classes at least")
    return x, y.astype(np.int32), count
