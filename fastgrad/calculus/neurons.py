"""Section 5 of the paper: the gradient of a neuron's activation (formulas 15 to 17), and the
products with the Jacobians of a layer (formulas 14 to 16 and 23)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..typing import ArrayOf, F, Scalar, Values
from .arguments import floats, require_equal_shapes, require_ndim


def affine_gradients(
    w: ArrayOf[F], x: ArrayOf[F]
) -> tuple[NDArray[F], NDArray[F], np.float32 | np.float64]:
    """Gradients of z = w·x + b: ∂z/∂w = xᵀ, ∂z/∂x = wᵀ, ∂z/∂b = 1 (formula 15, section 5).

    w and x are (d,); returns (dw (d,), dx (d,), db scalar). A TypeError or ValueError names an
    argument of another shape or dtype. Without the bias, z = w·x, the first two are the same.

    >>> affine_gradients([1.0, 2.0], [3.0, 4.0])
    (array([3., 4.]), array([1., 2.]), np.float64(1.0))
    """
    w, x = floats(w=w, x=x)
    require_ndim("w", w, 1)
    require_equal_shapes("w", w, "x", x.shape)
    return x.copy(), w.copy(), w.dtype.type(1)


def relu_derivative(z: Values[F]) -> NDArray[F] | Any:
    """Derivative of max(0, z): 0 where z <= 0, so also at the kink, else 1 (formula 16, section 5).

    z has any shape; the result has it too, in z's float dtype. It is ``not (z <= 0)``, so 1 at
    NaN: what comes from above passes. A dtype that is not served is a TypeError.

    >>> relu_derivative([-1.0, 0.0, 2.0, float("nan")])
    array([0., 0., 1., 1.])
    """
    (z,) = floats(z=z)
    return np.logical_not(z <= 0).astype(z.dtype)[()]


def activation_gradients(
    w: ArrayOf[F], x: ArrayOf[F], b: Scalar
) -> tuple[NDArray[F], np.float32 | np.float64]:
    """Gradients of max(0, w·x + b): ∂/∂w = 0⃗ᵀ or xᵀ, ∂/∂b = 0 or 1 (formula 17, section 5).

    w and x are (d,), b a scalar; returns (dw (d,), db scalar): zeros where w·x + b <= 0, exactly.
    A TypeError or ValueError names an argument of another shape or dtype.

    >>> activation_gradients([1.0, 2.0], [3.0, 4.0], -5.0)
    (array([3., 4.]), np.float64(1.0))
    >>> activation_gradients([1.0, 2.0], [3.0, 4.0], -11.0)
    (array([0., 0.]), np.float64(0.0))
    """
    w, x, b = floats(w=w, x=x, b=b)
    require_ndim("b", b, 0)
    dw, _, db = affine_gradients(w, x)
    z = w @ x + b
    return relu_vjp(dw, np.broadcast_to(z, dw.shape)), relu_vjp(db, z)


def _require_layer(X, W):
    require_ndim("X", X, 2)
    require_ndim("W", W, 1, 2)
    if X.shape[1] != W.shape[0]:
        raise ValueError(
            f"X has shape {X.shape}, W has shape {W.shape}; expected the columns of X to be the "
            "rows of W"
        )


def affine_jvp(
    X: ArrayOf[F],
    W: ArrayOf[F],
    X_dot: ArrayOf[F] | None = None,
    W_dot: ArrayOf[F] | None = None,
    b_dot: Values[F] | None = None,
) -> NDArray[F]:
    """Directional derivative of Z = X W + b: Ż = Ẋ W + X Ẇ + ḃ (formulas 15 and 23, forward mode).

    Parameters
    ----------
    X : (n, d)
    W : (d, k), or (d,) for one neuron
    X_dot, W_dot : shapes of X and W, optional
        The direction; None is zero.
    b_dot : (k,), or a scalar for one neuron, optional

    Returns
    -------
    Z_dot : (n, k), or (n,) for one neuron

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    >>> affine_jvp([[1.0, 2.0]], [3.0, 4.0], W_dot=[1.0, 0.0], b_dot=1.0)
    array([2.])
    """
    X, W, X_dot, W_dot, b_dot = floats(X=X, W=W, X_dot=X_dot, W_dot=W_dot, b_dot=b_dot)
    _require_layer(X, W)
    Z_dot = np.zeros(X.shape[:1] + W.shape[1:], X.dtype)
    if X_dot is not None:
        require_equal_shapes("X_dot", X_dot, "X", X.shape)
        Z_dot += X_dot @ W
    if W_dot is not None:
        require_equal_shapes("W_dot", W_dot, "W", W.shape)
        Z_dot += X @ W_dot
    if b_dot is not None:
        require_equal_shapes("b_dot", b_dot, "one row of X @ W", W.shape[1:])
        Z_dot += b_dot
    return Z_dot


def affine_vjp(
    grad_Z: ArrayOf[F], X: ArrayOf[F], W: ArrayOf[F]
) -> tuple[NDArray[F], NDArray[F], NDArray[F] | Any]:
    """Gradients through Z = X W + b: dX = dZ Wᵀ, dW = Xᵀ dZ, db = 1ᵀ dZ (formulas 15 and 23).

    Parameters
    ----------
    grad_Z : (n, k), or (n,) for one neuron
        Gradient of a scalar with respect to Z.
    X : (n, d)
    W : (d, k), or (d,) for one neuron

    Returns
    -------
    grad_X, grad_W, grad_b : shapes of X, W and b
        Sums over the n rows, no mean; grad_b is added up in float64.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a dtype that is not served.

    Examples
    --------
    >>> affine_vjp([2.0], [[1.0, 2.0]], [3.0, 4.0])
    (array([[6., 8.]]), array([2., 4.]), np.float64(2.0))
    """
    grad_Z, X, W = floats(grad_Z=grad_Z, X=X, W=W)
    _require_layer(X, W)
    require_equal_shapes("grad_Z", grad_Z, "X @ W", X.shape[:1] + W.shape[1:])
    grad_X = np.outer(grad_Z, W) if W.ndim == 1 else grad_Z @ W.T
    grad_b = grad_Z.sum(axis=0, dtype=np.float64).astype(X.dtype)
    return grad_X, X.T @ grad_Z, grad_b


def relu_jvp(z: Values[F], z_dot: Values[F]) -> NDArray[F] | Any:
    """Directional derivative of max(0, z): ż where not (z <= 0), else 0 (formulas 14 and 16).

    z and z_dot have one shape, any; so has the result. The diagonal Jacobian is applied as a
    mask, a choice and not a product: an infinity above an inactive entry gives 0, as in PyTorch.
    A TypeError or ValueError names an argument of another shape or dtype.

    >>> relu_jvp([-1.0, 0.0, 2.0], [5.0, 6.0, 7.0])
    array([0., 0., 7.])
    """
    z, z_dot = floats(z=z, z_dot=z_dot)
    require_equal_shapes("z", z, "z_dot", z_dot.shape)
    return np.where(z <= 0, z.dtype.type(0), z_dot)[()]


def relu_vjp(grad_a: Values[F], z: Values[F]) -> NDArray[F] | Any:
    """Gradient through a = max(0, z): grad_a where not (z <= 0), else 0 (formulas 14 and 16).

    grad_a and z have one shape, any; so has the result. The Jacobian is diagonal, its own
    transpose, so this is `relu_jvp` in reverse mode's order of arguments, with the same mask.

    >>> relu_vjp([5.0, 6.0, 7.0], [-1.0, 0.0, 2.0])
    array([0., 0., 7.])
    """
    grad_a, z = floats(grad_a=grad_a, z=z)
    require_equal_shapes("grad_a", grad_a, "z", z.shape)
    return relu_jvp(z, grad_a)
