"""The dtypes of tensors by name: numpy's, and bfloat16 and the float8 kinds of ml_dtypes."""

import ml_dtypes
import numpy as np

_NUMPY = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_SMALL = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")

BY_NAME = {name: np.dtype(name) for name in _NUMPY} | {name: np.dtype(getattr(ml_dtypes, name)) for name in _SMALL}
