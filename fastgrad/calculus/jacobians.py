"""Sections 4.1 to 4.4 of the paper: stacked gradients, element-wise rules, sums: formulas 6 to
10."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .._core import check
from ..typing import (
    ArrayOf,
    F,
    Float32,
    Float64,
    LayoutName,
    OperationName,
    Scalar,
    Values,
)
from .arguments import floats, in_layout, require_equal_shapes, require_ndim

# op -> (dy/dw, dy/dx), entry by entry, of y = w op x (formulas 7 and 8).
_PARTIALS = {
    "add": lambda w, x: (np.ones_like(w), np.ones_like(x)),
    "subtract": lambda w, x: (np.ones_like(w), -np.ones_like(x)),
    "multiply": lambda w, x: (x.copy(), w.copy()),
    # -w / x**2 written as -(w / x) / x: x**2 would overflow or vanish first
    "divide": lambda w, x: (1 / x, -(w / x) / x),
    "maximum": lambda w, x: (~(w < x), ~(x <= w)),
    "greater": lambda w, x: (np.zeros_like(w), np.zeros_like(x)),
}


def stack_gradients(
    gradients: Iterable[ArrayOf[F]], *, layout: LayoutName = "numerator"
) -> NDArray[F]:
    """Stack the gradients of m scalar functions into their Jacobian (formula 6, paper section 4.1).

    Parameters
    ----------
    gradients : sequence of m arrays (n,)
        ∂f_i/∂x for i = 1 … m.
    layout : {"numerator", "denominator"}

    Returns
    -------
    jacobian : (m, n); (n, m) in denominator layout

    Raises
    ------
    TypeError, ValueError
        No gradients; one that is not a vector; unequal lengths; a dtype that is not served.

    Examples
    --------
    f = 3x²y and g = 2x + y⁸ at x = 1, y = 1:

    >>> stack_gradients([[6.0, 3.0], [2.0, 8.0]], layout="denominator")
    array([[6., 2.],
           [3., 8.]])
    """
    rows = floats(**{f"gradients[{i}]": gradient for i, gradient in enumerate(gradients)})
    if not rows:
        raise ValueError("gradients is empty; expected at least one gradient")
    for i, row in enumerate(rows):
        require_ndim(f"gradients[{i}]", row, 1)
        require_equal_shapes("gradients[0]", rows[0], f"gradients[{i}]", row.shape)
    return in_layout(np.stack(rows), layout)


@overload
def identity_jacobian(n: int, *, dtype: Float64 = ...) -> NDArray[np.float64]: ...
@overload
def identity_jacobian(n: int, *, dtype: Float32) -> NDArray[np.float32]: ...
def identity_jacobian(n: int, *, dtype: Any = np.float64) -> NDArray[Any]:
    """Return the Jacobian of y = x, the identity (n, n), in either layout (formula 6, section 4.1).

    ``dtype`` is float32 or float64 (else a TypeError); a negative n is a ValueError.

    >>> identity_jacobian(2)
    array([[1., 0.],
           [0., 1.]])
    """
    dtype, n = check.float_dtype(dtype), check.integer(n, "n", least=0)
    check.addressable(n * n, dtype, "n")
    return np.eye(n, dtype=dtype)


def elementwise_jacobians_diag(
    op: OperationName, w: Values[F], x: Values[F]
) -> tuple[NDArray[F], NDArray[F]]:
    """Diagonals of ∂y/∂w and ∂y/∂x for y = w ○ x, no matrix formed (formulas 7 to 9).

    ======================  =============  =============================
    y (sections 4.2, 4.3)   ∂y/∂w = diag   ∂y/∂x = diag
    ======================  =============  =============================
    w + x    "add"          1              1
    w − x    "subtract"     1              −1
    w ⊗ x    "multiply"     x              w
    w ⊘ x    "divide"       1/x            −w/x²
    max      "maximum"      not (w < x)    not (x <= w)
    w > x    "greater"      0              0
    ======================  =============  =============================

    At a tie max(w, x) gives the whole derivative to w, the first argument: so max(0, z) has the
    derivative 0 at z = 0 (formula 16). Beside a NaN both derivatives of max are 1: what comes from
    above passes. For y = f(w) ○ g(x) take f(w) and g(x) as arguments and go on with `chain` and its
    ``diagonals=True``.

    Parameters
    ----------
    op : {"add", "subtract", "multiply", "divide", "maximum", "greater"}
    w, x : (n,), or one of them a scalar (), which is expanded to z·1⃗ (formula 9)

    Returns
    -------
    dw, dx : (n,) each
        For an expanded scalar not a diagonal but the column ∂y/∂z = diag·1⃗, which has the same n
        numbers: ∂(x + z)/∂z = 1⃗, ∂(xz)/∂z = x.

    Raises
    ------
    TypeError, ValueError
        Unknown op; unequal shapes; two scalars; matrices; a dtype that is not served.

    Examples
    --------
    >>> elementwise_jacobians_diag("divide", [1.0, 8.0], [2.0, 4.0])
    (array([0.5 , 0.25]), array([-0.25, -0.5 ]))
    >>> elementwise_jacobians_diag("maximum", 0.0, [-1.0, 0.0, 3.0])
    (array([1., 1., 0.]), array([0., 0., 1.]))
    """
    if not isinstance(op, str) or op not in _PARTIALS:
        raise ValueError(f"op is {op!r}; expected one of {', '.join(_PARTIALS)}")
    w, x = floats(w=w, x=x)
    require_ndim("w", w, 0, 1)
    require_ndim("x", x, 1 if w.ndim == 0 else 0, 1)
    if w.ndim and x.ndim:
        require_equal_shapes("w", w, "x", x.shape)
    dtype = w.dtype
    dw, dx = _PARTIALS[op](*np.broadcast_arrays(w, x))
    return np.asarray(dw, dtype=dtype), np.asarray(dx, dtype=dtype)


def elementwise_jacobians(
    op: OperationName, w: Values[F], x: Values[F], *, layout: LayoutName = "numerator"
) -> tuple[NDArray[F], NDArray[F]]:
    """Jacobians ∂y/∂w and ∂y/∂x of y = w ○ x as full matrices (formulas 7 to 9).

    Parameters, errors and conventions are those of `elementwise_jacobians_diag`. A diagonal (n, n)
    is the same in both layouts; for an expanded scalar the Jacobian is the column (n, 1), and the
    row (1, n) in denominator layout.

    >>> Jx, Jz = elementwise_jacobians("multiply", [1.0, 2.0], 5.0)
    >>> Jx
    array([[5., 0.],
           [0., 5.]])
    >>> Jz
    array([[1.],
           [2.]])
    """
    dw, dx = elementwise_jacobians_diag(op, w, x)
    return tuple(
        in_layout(diagonal[:, None] if np.ndim(argument) == 0 else np.diag(diagonal), layout)
        for diagonal, argument in ((dw, w), (dx, x))
    )


def scalar_expansion_jacobians(
    op: OperationName, x: ArrayOf[F], z: Scalar, *, layout: LayoutName = "numerator"
) -> tuple[NDArray[F], NDArray[F]]:
    """Jacobians ∂y/∂x (n, n) and ∂y/∂z (n, 1) of y = x ○ 1⃗z, z a scalar (formula 9, section 4.3).

    The scalar is expanded to a vector z·1⃗, so this is `elementwise_jacobians` with a column in the
    place of the second diagonal: x + z gives I and 1⃗, x z gives I·z and x. z that is no scalar is a
    ValueError.

    >>> Jx, Jz = scalar_expansion_jacobians("add", [1.0, 2.0], 5.0)
    >>> Jz
    array([[1.],
           [1.]])
    """
    _, scalar = floats(x=x, z=z)
    require_ndim("z", scalar, 0)
    return elementwise_jacobians(op, x, z, layout=layout)


def sum_gradient(jacobian: ArrayOf[F], *, layout: LayoutName = "numerator") -> NDArray[F]:
    """Gradient of y = sum(f(x)): ∂y/∂x_j = Σ_i ∂f_i/∂x_j (formula 10, section 4.4).

    Parameters
    ----------
    jacobian : (m, n)
        ∂f/∂x; (n, m) in denominator layout. A TypeError or ValueError names what does not fit.

    Returns
    -------
    gradient : (n,)

    Examples
    --------
    The identity has y = sum(x), whose gradient is 1⃗ᵀ:

    >>> sum_gradient(identity_jacobian(3))
    array([1., 1., 1.])
    """
    (jacobian,) = floats(jacobian=jacobian)
    require_ndim("jacobian", jacobian, 2)
    return in_layout(jacobian, layout).sum(axis=0)


def scaled_sum_gradients(
    x: ArrayOf[F], z: Scalar = 1.0
) -> tuple[NDArray[F], np.float32 | np.float64]:
    """Gradients of y = sum(x z), z a scalar: ∂y/∂x = [z … z], ∂y/∂z = sum(x) (formula 10).

    x is (n,), z a scalar (1 gives y = sum(x)); returns (dx (n,), dz scalar). A TypeError or
    ValueError names an argument of another shape or dtype.

    >>> scaled_sum_gradients([1.0, 2.0, 4.0], 5.0)
    (array([5., 5., 5.]), np.float64(7.0))
    """
    x, z = floats(x=x, z=z)
    require_ndim("x", x, 1)
    require_ndim("z", z, 0)
    return np.full_like(x, z), x.sum()
