"""Frames and series of pandas whose columns are numbers of several kinds, as one array.

NumPy makes an array of objects of them; pandas itself is not imported.
"""

from __future__ import annotations

import numpy as np


def is_frame(value) -> bool:
    return hasattr(value, "to_numpy") and (hasattr(value, "dtypes") or hasattr(value, "dtype"))


def numbers(value, name: str) -> np.ndarray:
    """Numbers of the type that all columns fit in; what is missing is NaN.

    A TypeError names the first column that is not of numbers.
    """
    frame = hasattr(value, "columns")
    columns = zip(value.columns, value.dtypes) if frame else [(None, value.dtype)]
    kinds = []
    for column, dtype in columns:
        plain = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))
        if getattr(plain, "kind", "O") not in "biuf":
            what = f"has the column {column!r} of" if frame else "has"
            raise TypeError(
                f"{name} {what} dtype {dtype}; expected numbers or booleans: convert it (for text "
                f"that is numbers, with pandas.to_numeric), encode it or drop it"
            )
        kinds.append(plain)
    dtype = np.result_type(*kinds) if kinds else np.dtype(np.float64)
    if dtype.kind != "f" and np.asarray(value.isna()).any():
        dtype = np.dtype(np.float64)
    missing = {"na_value": np.nan} if dtype.kind == "f" else {}
    return np.asarray(value.to_numpy(dtype, **missing))
