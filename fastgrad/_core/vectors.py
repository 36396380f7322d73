"""Vectors of parameters that the library makes."""

from __future__ import annotations

import numpy as np

from ..kernels import tuning


def empty_vector(size: int, dtype: np.dtype) -> np.ndarray:
    """(size,), not initialised; a large one begins with a cache line.

    NumPy's large arrays mostly begin 16 bytes into one, where a row of 64 float32 touches five
    lines, not four: of rows of W that sparse rows name, in any order, that costs a sixth
    (47,236-64-1, `predict` of 20,000 rows on one thread: 5.5 ms, 6.4). A gradient's rows are
    written in order, where it costs nothing.
    """
    if size * dtype.itemsize < tuning.ALIGNED_BYTES:
        return np.empty(size, dtype)
    line = tuning.LINE_BYTES // dtype.itemsize
    memory = np.empty(size + line, dtype)
    start = -(memory.__array_interface__["data"][0] // dtype.itemsize) % line
    return memory[start : start + size]
