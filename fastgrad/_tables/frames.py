"""Data frames as tables: pandas' by its own methods, others through Arrow's interface."""

from __future__ import annotations

import numpy as np

from .arrow import column as arrow_column
from .arrow import pyarrow
from .table import Column, Table, text


def is_frame(value) -> bool:
    """Whether this has named columns."""
    frame = hasattr(value, "iloc") or hasattr(value, "__arrow_c_stream__")
    return frame and hasattr(value, "columns")


def from_frame(frame, wanted) -> Table:
    """The columns of a frame that `wanted`, a function of their names, gives; rows count from 0."""
    pandas = hasattr(frame, "iloc")
    if not pandas:
        frame = pyarrow(f"a {type(frame).__name__}").table(frame)
    names = [str(name) for name in (frame.columns if pandas else frame.column_names)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"X: the column {twice!r} is there twice; expected every name once")
    columns = {}
    for name in wanted(names):
        place = names.index(name)
        columns[name] = (
            _series(frame.iloc[:, place]) if pandas else arrow_column(frame.column(place))
        )
    return Table("X", columns, len(frame), first=0)


def _series(series) -> Column:
    dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    if kind in "Mmc":
        return Column(np.zeros(len(series)), unusable=str(dtype))
    if kind in "biuf" and not hasattr(dtype, "categories"):
        if not hasattr(dtype, "numpy_dtype"):
            return Column(np.asarray(series))
        missing = series.isna().to_numpy(dtype=bool)
        return Column(series.to_numpy(dtype=dtype.numpy_dtype, na_value=0), missing)
    try:
        codes, values = series.factorize()
    except TypeError:  # lists and the like
        return Column(np.zeros(len(series)), unusable="objects that are not text")
    values = values.tolist()
    if all(type(value) in (int, float) for value in values) and not hasattr(dtype, "categories"):
        return Column(np.array([*values, np.nan], np.float64)[codes])
    odd = next((v for v in values if not isinstance(v, (str, bool, int, float))), None)
    if odd is not None:
        return Column(np.zeros(len(series)), unusable=f"{type(odd).__name__} objects")
    return text(codes, values, hasattr(dtype, "categories"))
