"""Section 2 of the paper: the rules of scalar derivatives (formula 3).

f, g are values and df, dg their derivatives df/dx, dg/dx at one x, or at many: then all are arrays
of one shape, and the rule holds entry by entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..typing import F, Scalar, Values
from .arguments import floats, require_equal_shapes, require_ndim


def constant_rule(x: Values[F]) -> NDArray[F] | Any:
    """dc/dx = 0: the derivative of a constant c at x (formula 3, section 2).

    >>> constant_rule(2.0)
    np.float64(0.0)
    """
    (x,) = floats(x=x)
    return np.zeros_like(x)[()]


def constant_multiple_rule(c: Scalar, df: Values[F]) -> NDArray[F] | Any:
    """d(c f)/dx = c df/dx, c a constant (formula 3, section 2).

    c is a scalar; a ValueError says so otherwise. 3x at x = 2:

    >>> constant_multiple_rule(3.0, 1.0)
    np.float64(3.0)
    """
    c, df = floats(c=c, df=df)
    require_ndim("c", c, 0)
    return (c * df)[()]


def power_rule(x: Values[F], n: Scalar) -> NDArray[F] | Any:
    """dxⁿ/dx = n xⁿ⁻¹, n any number (formula 3, section 2).

    n is a scalar; a ValueError says so otherwise. x³ at x = 2:

    >>> power_rule(2.0, 3)
    np.float64(12.0)
    """
    x, n = floats(x=x, n=n)
    require_ndim("n", n, 0)
    if n == 0:  # a constant, at x = 0 too, where 0 · 0⁻¹ would be NaN
        return np.zeros_like(x)[()]
    return (n * x ** (n - 1))[()]


def sum_rule(df: Values[F], dg: Values[F]) -> NDArray[F] | Any:
    """d(f + g)/dx = df/dx + dg/dx (formula 3, section 2).

    x + x² at x = 2:

    >>> sum_rule(1.0, power_rule(2.0, 2))
    np.float64(5.0)
    """
    df, dg = floats(df=df, dg=dg)
    require_equal_shapes("df", df, "dg", dg.shape)
    return (df + dg)[()]


def difference_rule(df: Values[F], dg: Values[F]) -> NDArray[F] | Any:
    """d(f − g)/dx = df/dx − dg/dx (formula 3, section 2).

    x² − x³ at x = 2:

    >>> difference_rule(power_rule(2.0, 2), power_rule(2.0, 3))
    np.float64(-8.0)
    """
    df, dg = floats(df=df, dg=dg)
    require_equal_shapes("df", df, "dg", dg.shape)
    return (df - dg)[()]


def product_rule(f: Values[F], df: Values[F], g: Values[F], dg: Values[F]) -> NDArray[F] | Any:
    """d(f g)/dx = f dg/dx + df/dx g (formula 3, section 2).

    x² · x at x = 2:

    >>> product_rule(4.0, power_rule(2.0, 2), 2.0, 1.0)
    np.float64(12.0)
    """
    f, df, g, dg = floats(f=f, df=df, g=g, dg=dg)
    for name, array in (("df", df), ("g", g), ("dg", dg)):
        require_equal_shapes(name, array, "f", f.shape)
    return (f * dg + df * g)[()]
