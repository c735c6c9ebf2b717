"""The numbers in tests/corpus, as numpy arrays by tensor name."""

import ml_dtypes
import numpy as np


def values() -> dict[str, np.ndarray]:
    base = np.arange(12, dtype=np.float32).reshape(3, 4) - 5.5
    row = base.reshape(-1)
    return {
        "base": base,
        "tied": base,
        "transposed": base.T[1:],
        "column": base[:, 2],
        "expanded": np.broadcast_to(base[:1], (3, 4)),
        "parameter": base * 2,
        "buffer": base * 3,
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "complex64": (row + 1j * row[::-1]).astype(np.complex64),
        "bool": row > 0,
        "uint8": np.arange(250, 256, dtype=np.uint8),
        "uint16": np.arange(65530, 65536, dtype=np.uint16),
        "bfloat16": row.astype(ml_dtypes.bfloat16),
        "float8_e4m3fn": row.astype(ml_dtypes.float8_e4m3fn),
        "float8_e5m2": row.astype(ml_dtypes.float8_e5m2),
        **{name: (row * 10).astype(name) for name in ("float64", "float16", "int64", "int32", "int16", "int8")},
    }
