"""Section 4.5 of the paper: the chain rules (formulas 11 to 14)."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import check
from ..typing import ArrayOf, F, LayoutName, Values
from .arguments import floats, in_layout, require_ndim


def _compose(outer, inner):
    if outer.ndim == 2 and inner.ndim == 2:
        return outer @ inner
    if outer.ndim == 1 and inner.ndim == 2:
        return outer[:, None] * inner
    return outer * inner


def chain(
    *derivatives: Values[F], layout: LayoutName = "numerator", diagonals: bool = False
) -> NDArray[F] | Any:
    """Derivative of a composition by the chain rule, outermost factor first (formulas 11, 13, 14).

    ∂f/∂x = (∂f/∂g)(∂g/∂h) … (∂·/∂x), section 4.5. The number of axes says what a factor is:
    none, a scalar derivative c, which stands for c·I (formula 11); two, a full Jacobian (formula
    13), so a gradient is written (1, n) here and the derivative by a scalar (n, 1); one, with
    ``diagonals``, the diagonal of a diagonal Jacobian, which only scales rows or columns (formula
    14).

    Parameters
    ----------
    *derivatives : scalars, diagonals (k,) and Jacobians (m, k), (k, n), …
        In denominator layout the transposes, in the same order.
    layout : {"numerator", "denominator"}
    diagonals : bool
        Whether vectors are diagonals. Without it a vector beside other vectors or matrices is an
        error: it may be meant as a gradient.

    Returns
    -------
    derivative : scalar, diagonal (n,) or Jacobian (m, n): the most that went in

    Raises
    ------
    TypeError, ValueError
        No factors; neighbours that do not fit; a vector without ``diagonals``; a dtype that is not
        served.

    Examples
    --------
    y = [ln x², sin 3x] at x = 2 is [2/x, 3 cos 3x]:

    >>> x = 2.0
    >>> chain([1 / x**2, np.cos(3 * x)], [[2 * x], [3.0]], diagonals=True)
    array([[1.        ],
           [2.88051086]])
    """
    return _composed("derivatives", derivatives, layout, check.boolean(diagonals, "diagonals"))


def _composed(name, factors, layout="numerator", diagonals=False):
    """The product of the factors; `name` is theirs in errors."""
    factors = floats(**_named(name, factors))
    given = [factor.shape for factor in factors]
    for i, factor in enumerate(factors):
        require_ndim(f"{name}[{i}]", factor, 0, 1, 2)
    factors = [in_layout(factor, layout) if factor.ndim == 2 else factor for factor in factors]
    sized = [i for i, factor in enumerate(factors) if factor.ndim]
    vectors = [i for i in sized if factors[i].ndim == 1]
    if not diagonals and vectors and len(sized) > 1:
        i, n = vectors[0], factors[vectors[0]].size
        raise ValueError(
            f"{name}[{i}] has shape ({n},), which may be a gradient or a diagonal: write a "
            f"gradient (1, {n}) and a derivative by a scalar ({n}, 1) in numerator layout, or pass "
            f"diagonals=True"
        )
    for i, j in pairwise(sized):
        if factors[i].shape[-1] != factors[j].shape[0]:
            raise ValueError(
                f"{name}[{i}] has shape {given[i]}, {name}[{j}] has shape {given[j]}; "
                f"expected factors that compose in {layout} layout"
            )
    return np.array(in_layout(reduce(_compose, factors), layout))[()]


def total_derivative(
    partial_x: Values[F], partials_u: ArrayOf[F], du_dx: ArrayOf[F]
) -> NDArray[F] | Any:
    """Derivative of f(x, u_1(x), …, u_k(x)): ∂f/∂x + Σ_i ∂f/∂u_i ∂u_i/∂x (formula 12, 4.5.2).

    Parameters
    ----------
    partial_x : scalar, or (n,) for a vector x
        ∂f/∂x with every u held fixed.
    partials_u : (k,)
        ∂f/∂u_i.
    du_dx : (k,), or (k, n) with the gradients of the u_i as rows

    Returns
    -------
    derivative : scalar, or (n,)

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    f = sin(x + x²) at x = 0, with u = x² held apart, is cos(x + x²)(1 + 2x) = 1:

    >>> total_derivative(1.0, [1.0], [0.0])
    np.float64(1.0)
    """
    partial_x, partials_u, du_dx = floats(partial_x=partial_x, partials_u=partials_u, du_dx=du_dx)
    require_ndim("partial_x", partial_x, 0, 1)
    require_ndim("partials_u", partials_u, 1)
    expected = partials_u.shape + partial_x.shape
    if du_dx.shape != expected:
        raise ValueError(
            f"du_dx has shape {du_dx.shape}, partials_u has shape {partials_u.shape}, partial_x "
            f"has shape {partial_x.shape}; expected du_dx of shape {expected}"
        )
    return partial_x + partials_u @ du_dx


def single_variable_chain(*derivatives: Values[Any]) -> Any:
    """dy/dx = dy/du · du/dx for scalars, outermost first (formula 11, section 4.5.1).

    Any number of intermediate variables: dy/dx = dy/du_n · … · du_2/du_1 · du_1/dx. Anything but
    scalars is a ValueError that names it. sin(x²) at x = 2, with u = x²:

    >>> x = 2.0
    >>> single_variable_chain(np.cos(x**2), 2 * x)
    np.float64(-2.6145744834544478)
    """
    for i, derivative in enumerate(floats(**_named("derivatives", derivatives))):
        require_ndim(f"derivatives[{i}]", derivative, 0)
    return _composed("derivatives", derivatives)


def vector_chain(*jacobians: ArrayOf[F], layout: LayoutName = "numerator") -> NDArray[F]:
    """∂f/∂x = (∂f/∂g)(∂g/∂x), (m, k) times (k, n), outermost first (formula 13, section 4.5.3).

    Every factor is a matrix: a gradient is a row (1, n), the derivative by a scalar x a column
    (n, 1). In denominator layout the factors are the transposes, still outermost first, and so is
    the result. Factors of another shape are a ValueError that names them.

    y = [ln x², sin 3x] at x = 2, with g = [x², 3x], is [2/x, 3 cos 3x]:

    >>> x = 2.0
    >>> vector_chain([[1 / x**2, 0.0], [0.0, np.cos(3 * x)]], [[2 * x], [3.0]])
    array([[1.        ],
           [2.88051086]])
    """
    for i, jacobian in enumerate(floats(**_named("jacobians", jacobians))):
        require_ndim(f"jacobians[{i}]", jacobian, 2)
    return _composed("jacobians", jacobians, layout)


def diagonal_chain(*diagonals: ArrayOf[F]) -> NDArray[F]:
    """∂f_i/∂x_i = ∂f_i/∂g_i · ∂g_i/∂x_i, entry by entry (formula 14, section 4.5.3).

    The vector chain rule where f_i takes g_i alone and g_i takes x_i alone: a product of diagonal
    matrices, as a ReLU's mask is. Takes and returns diagonals (n,), outermost first; anything else
    is a ValueError that names it. y = sin(x²), entry by entry, at x = [1, 2]:

    >>> x = np.array([1.0, 2.0])
    >>> diagonal_chain(np.cos(x**2), 2 * x)
    array([ 1.08060461, -2.61457448])
    """
    for i, diagonal in enumerate(floats(**_named("diagonals", diagonals))):
        require_ndim(f"diagonals[{i}]", diagonal, 1)
    return _composed("diagonals", diagonals, diagonals=True)


def _named(name, factors):
    if not factors:
        raise ValueError(f"{name} is empty; expected at least one factor")
    return {f"{name}[{i}]": factor for i, factor in enumerate(factors)}
