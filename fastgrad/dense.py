"""One layer of k neurons: Z = X W + b, its ReLU with the mask, and the way back.

A layer is a network of one layer whose output gradient is given, so the kernels are the network's.
Formulas 1, 2, 15, 16 and 23 of the guide's table.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.names import list_public
from ._core.plan import layer_plan
from ._core.run import run
from ._core.threads import check_threads
from .kernels import records as at
from .kernels.bind import run_backward, run_forward
from .kernels.micro_kernel import RELU, STORE
from .typing import ArrayOf, F, Values

__all__ = ["affine", "affine_relu", "affine_relu_backward"]
list_public(globals())


def _layer(X, W, b):
    """Checked (X, W as (d, k), b (k,), dtype, single) of a layer or of one neuron."""
    dtype = check.common_dtype((X, "X"), (W, "w"), (b, "b"))
    W = check.float_array(W, "w", dtype)
    single = W.ndim == 1
    if single:
        W = W.reshape(-1, 1)
        b = np.array([check.scalar(b, "b")], dtype)
    elif W.ndim == 2:
        b = check.vector(b, "b", dtype, W.shape[1], ": one bias for each column of w")
    else:
        raise ValueError(f"w has shape {W.shape}; expected (d,) for one neuron or (d, k)")
    _not_empty(W)
    return check.matrix(X, "X", dtype, W.shape[0]), W, b, dtype, single


def _not_empty(W):
    if W.size == 0:
        raise ValueError(f"w has shape {W.shape}; expected at least one input and one output")


def _outputs(name: str, out, count: int) -> tuple:
    """The arrays of a tuple to write to; None for each where there is none."""
    if out is None:
        return (None,) * count
    if not isinstance(out, tuple) or len(out) != count:
        raise TypeError(f"{name} is {type(out).__name__}; expected a tuple of {count} arrays")
    return out


def _result(out, name: str, shape, dtype, *inputs):
    """The array to write to: the caller's, or a fresh one."""
    if out is None:
        return np.empty(shape, dtype)
    return check.output(out, name, shape, dtype, *inputs)


def _forward(X, W, b, out, mask, threads):
    """Z, or A and its mask where there is one."""
    n, (d, k) = X.shape[0], W.shape
    if threads is not None:
        check_threads(threads)
    if n:
        want, activation = (at.OUTPUTS, STORE) if mask is None else (at.OUTPUTS | at.MASK, RELU)
        plan = layer_plan(d, k, n, X.dtype, want, activation)
        run(plan, run_forward, (W, b, X, out, mask), threads)


def affine(
    X: ArrayOf[F],
    w: ArrayOf[F],
    b: Values[F],
    *,
    out: NDArray[F] | None = None,
    threads: int | None = None,
) -> NDArray[F]:
    """Z = X @ w + b.

    Parameters
    ----------
    X : array (n, d)
        float32 or float64; w and b have the same dtype (integers and lists are converted).
    w : array (d,) or (d, k)
        One neuron's weights, or a layer's.
    b : float, or array (k,)
    out : ndarray, the shape of Z, optional
        Where to write Z: same dtype, contiguous, disjoint from the inputs. Overwritten.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    Z : ndarray (n,) for one neuron, (n, k) for a layer
        Formula 1 (section 5 of the paper).

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.affine(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0]), 0.5)
    array([-0.5, -0.5])
    """
    given = ((X, "X"), (w, "w"), (b, "b"))
    X, W, b, dtype, single = _layer(X, w, b)
    shape = X.shape[:1] if single else (X.shape[0], W.shape[1])
    Z = _result(out, "out", shape, dtype, *given, (X, "X"), (W, "w"), (b, "b"))
    _forward(X, W, b, Z, None, threads)
    return Z


def affine_relu(
    X: ArrayOf[F],
    w: ArrayOf[F],
    b: Values[F],
    *,
    out: tuple[NDArray[F], NDArray[np.bool_]] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[F], NDArray[np.bool_]]:
    """max(0, X @ w + b) and the ReLU mask, fused.

    Parameters
    ----------
    X : array (n, d)
        float32 or float64; w and b have the same dtype (integers and lists are converted).
    w : array (d,) or (d, k)
    b : float, or array (k,)
    out : (a, mask), optional
        Where to write both: of the shapes and dtypes that are returned, contiguous, disjoint from
        the inputs and each other. Overwritten.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    a : ndarray (n,) or (n, k)
        Activations (formula 2); NaN stays NaN.
    mask : ndarray of bool, the shape of a
        `not (z <= 0)`: the derivative of the ReLU (formula 16), 0 at the kink.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X, W, b = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2)
    >>> fg.affine_relu(X, W, b)
    (array([[3., 0.]]), array([[ True, False]]))
    """
    given = ((X, "X"), (w, "w"), (b, "b"))
    a, mask = _outputs("out", out, 2)
    X, W, b, dtype, single = _layer(X, w, b)
    given = (*given, (X, "X"), (W, "w"), (b, "b"))
    shape = X.shape[:1] if single else (X.shape[0], W.shape[1])
    a = _result(a, "out[0]", shape, dtype, *given)
    mask = _result(mask, "out[1]", shape, check.BOOL, *given, (a, "out[0]"))
    _forward(X, W, b, a, mask.view(np.uint8), threads)
    return a, mask


@overload
def affine_relu_backward(
    grad_a: ArrayOf[F], X: ArrayOf[F], W: ArrayOf[F], mask: NDArray[np.bool_], *,
    need_gX: Literal[True] = ..., out: tuple[NDArray[F], ...] | None = ...,
    threads: int | None = ...,
) -> tuple[NDArray[F], NDArray[F], NDArray[F] | Any]: ...  # fmt: skip
@overload
def affine_relu_backward(
    grad_a: ArrayOf[F], X: ArrayOf[F], W: ArrayOf[F], mask: NDArray[np.bool_], *,
    need_gX: bool, out: tuple[NDArray[F] | None, ...] | None = ..., threads: int | None = ...,
) -> tuple[NDArray[F] | None, NDArray[F], NDArray[F] | Any]: ...  # fmt: skip
def affine_relu_backward(
    grad_a: Any, X: Any, W: Any, mask: Any, *, need_gX: bool = True, out: Any = None,
    threads: int | None = None,
) -> Any:  # fmt: skip
    """Back through a layer: from d loss / d a to d loss / d X, d W and d b.

    Parameters
    ----------
    grad_a : array (n, k), or (n,) for one neuron
        Gradient of the loss with respect to the activations.
    X : array (n, d)
        The layer's inputs.
    W : array (d, k) or (d,)
    mask : array of bool, the shape of grad_a
        As `affine_relu` returns it. All True makes this the backward of `affine`.
    need_gX : bool
        False saves the product for gX and returns None in its place.
    out : (gX, gW, gb), or (gX, gW) for one neuron, optional
        Where to write them: of the shapes that are returned and the inputs' dtype, contiguous,
        disjoint from the inputs and each other; None in the place of gX where it is not needed.
        Overwritten, never added to.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    gX : ndarray (n, d) or None
        dZ W^T, with dZ = grad_a where the mask is set, else 0.
    gW : ndarray, the shape of W
        X^T dZ: the sum over rows, no mean is taken.
    gb : ndarray (k,), or float for one neuron
        The sum of dZ over rows. All three are formula 23.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X, W = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [1.0, -1.0]])
    >>> mask = np.array([[True, False]])
    >>> gX, gW, gb = fg.affine_relu_backward(np.array([[1.0, 5.0]]), X, W, mask)
    >>> gX, gW, gb
    (array([[1., 1.]]), array([[1., 0.],
           [2., 0.]]), array([1., 0.]))
    """
    given = ((grad_a, "grad_a"), (X, "X"), (W, "W"), (mask, "mask"))
    dtype = check.common_dtype(*given[:3])
    W = check.float_array(W, "W", dtype)
    if W.ndim not in (1, 2):
        raise ValueError(f"W has shape {W.shape}; expected (d,) for one neuron or (d, k)")
    _not_empty(W)
    single, d, k = W.ndim == 1, W.shape[0], W.size // W.shape[0]
    X = check.matrix(X, "X", dtype, d)
    n = X.shape[0]
    shape = (n,) if single else (n, k)
    grad_a = check.float_array(grad_a, "grad_a", dtype)
    if grad_a.shape != shape:
        raise ValueError(f"grad_a has shape {grad_a.shape}; expected {shape}")
    mask = check.mask(mask, "mask", shape)
    if threads is not None:
        check_threads(threads)
    if out is None:
        grad = np.empty((d + 1) * k, dtype)
        gX = np.empty((n, d), dtype) if need_gX else None
        gW, gb = grad[: d * k].reshape(W.shape), grad[d * k :]
    else:
        given = (*given, (grad_a, "grad_a"), (X, "X"), (W, "W"), (mask, "mask"))
        gX, gW, gb = _gradients(out, need_gX, (n, d), W.shape, dtype, given)
    if n:
        _backward(grad_a, X, W, mask, gX, gW, gb, threads)
    else:
        gW[...], gb[...] = 0, 0
    return gX, gW, gb[0] if single else gb


def _gradients(out, need_gX: bool, X_shape, W_shape, dtype, given):
    """(gX, gW, gb) as the caller gave them."""
    single = len(W_shape) == 1
    gX, gW, *rest = _outputs("out", out, 2 if single else 3)
    gW = check.output(gW, "out[1]", W_shape, dtype, *given)
    given = (*given, (gW, "out[1]"))
    gb = np.empty(1, dtype) if single else check.output(*rest, "out[2]", W_shape[1:], dtype, *given)
    if need_gX:
        check.output(gX, "out[0]", X_shape, dtype, *given, (gb, "out[2]"))
    elif gX is not None:
        raise TypeError(f"out[0] is a {type(gX).__name__}; expected None with need_gX=False")
    return gX, gW, gb


def _backward(grad_a, X, W, mask, gX, gW, gb, threads):
    n, d = X.shape
    want = at.GRADIENT if gX is None else at.GRADIENT | at.INPUT_GRADIENT
    plan = layer_plan(d, W.size // d, n, X.dtype, want, STORE)
    run(plan, run_backward, (W, X, grad_a, mask, gW, gb, gX), threads)
