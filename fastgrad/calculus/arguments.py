"""What the rules are given: arrays of one float dtype, shapes that fit, and the two layouts."""

from __future__ import annotations

import numpy as np

from .._core import check

LAYOUTS = ("numerator", "denominator")


def floats(**given):
    """Return the arguments, None aside, as arrays of one float dtype; errors carry their names."""
    arrays, owner = {}, {}
    for name, value in given.items():
        if value is None:
            continue
        array = check.as_array(value, name)
        dtype = array.dtype
        if not (dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))):
            raise TypeError(f"{name} has dtype {dtype}; expected float32, float64 or integers")
        if dtype.kind == "f" and hasattr(value, "dtype"):
            owner.setdefault(np.dtype(f"f{dtype.itemsize}"), name)
        arrays[name] = array
    if len(owner) == 2:
        wide, narrow = owner[np.dtype("f8")], owner[np.dtype("f4")]
        raise TypeError(
            f"{narrow} is float32, {wide} is float64: convert one, as in {wide}.astype(np.float32)"
        )
    dtype = next(iter(owner), np.dtype("f8"))
    return [arrays[n].astype(dtype, copy=False) if n in arrays else None for n in given]


def require_ndim(name, array, *allowed):
    shapes = {0: "a scalar ()", 1: "a vector (n,)", 2: "a matrix (m, n)"}
    if array.ndim not in allowed:
        expected = " or ".join(shapes[ndim] for ndim in allowed)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")


def require_equal_shapes(name, array, other_name, other_shape):
    if array.shape != other_shape:
        raise ValueError(
            f"{name} has shape {array.shape}, {other_name} has shape {other_shape}; "
            "expected equal shapes"
        )


def in_layout(jacobian, layout):
    """Turn numerator into `layout`, or `layout` into numerator: the same transpose."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected 'numerator' or 'denominator'")
    return jacobian if layout == "numerator" else np.ascontiguousarray(jacobian.T)
