"""One neuron max(0, w.x + b): its loss and gradient, in the paper's words.

Formulas 17 to 20 of the guide's table: T. Parr and J. Howard, *The Matrix Calculus You Need
For Deep Learning*, arXiv 1802.01528, sections 5 and 6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.fast_path import FastPath
from ._core.names import list_public
from ._core.plan import neuron_plan
from ._core.run import run
from .kernels import neuron as kernels
from .kernels.bind import neuron_bias_gradient, run_neuron
from .kernels.fast_path import REFUSED, quick_neuron, shared_neuron
from .typing import ArrayOf, F, Scalar, Values

__all__ = ["neuron_grad", "neuron_loss_and_grad", "relu", "relu_mask"]
list_public(globals())

_paths = {  # by dtype; each by the shape of X
    np.dtype(kind): FastPath(quick_neuron, shared_neuron, most=256, refused=(REFUSED, 0.0))
    for kind in (np.float32, np.float64)
}
_ndarray, _empty = np.ndarray, np.empty
_FLOATS = (float, np.float32)


def _parameters(w, b, X):
    """(w (d,), b as float, X (n, d), dtype)."""
    dtype = check.common_dtype((w, "w"), (b, "b"), (X, "X"))
    w = check.float_array(w, "w", dtype, 1)
    X = check.matrix(X, "X", dtype, w.shape[0])
    return w, check.scalar(b, "b"), X, dtype


def neuron_loss_and_grad(
    w: ArrayOf[F],
    b: Scalar,
    X: ArrayOf[F],
    y: ArrayOf[F],
    sample_weight: ArrayOf[F] | None = None,
    *,
    out: NDArray[F] | None = None,
    threads: int | None = None,
) -> tuple[float, NDArray[F], float]:
    """The mean squared loss of one ReLU neuron and its gradient, in one pass over X.

    Parameters
    ----------
    w : array (d,)
        Weights, float32 or float64; X, y and sample_weight have the same dtype (integers and lists
        are converted).
    b : float
        Bias.
    X : array (n, d)
        Inputs, n >= 1; any layout (C order needs no copy).
    y : array (n,)
        Targets.
    sample_weight : array (n,), optional
        Not negative, not all zero.
    out : ndarray (d,), optional
        Where to write gw: same dtype, contiguous, disjoint from the inputs. Overwritten.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    loss : float
        C = 1/n sum of (y - max(0, w.x + b))^2: the mean over samples, no 1/2 (formula 18);
        with weights s, sum of s (...)^2 / sum of s.
    gw : ndarray (d,)
        dC/dw = 2/n sum over active rows of e x, e = w.x + b - y (formula 19).
    gb : float
        dC/db = 2/n sum over active rows of e (formula 20).

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Notes
    -----
    A row with w.x + b <= 0 is inactive: it adds y^2 to the sum and nothing to the gradient. NaN is
    active. No temporary of n elements is made; sums over blocks of rows are kept in float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> X = np.array([[1.0, 2.0], [3.0, -1.0]])
    >>> fg.neuron_loss_and_grad(np.array([1.0, 1.0]), 0.5, X, np.array([3.0, 2.0]))
    (0.25, array([2. , 0.5]), 1.0)
    """
    plain = type(w) is type(X) is type(y) is _ndarray and isinstance(b, _FLOATS)
    if plain and out is sample_weight is threads is None:
        path = _paths.get(X.dtype)
        if path is not None:
            gw = _empty(X.shape[1:], X.dtype)
            found = path.call(X.shape, w, float(b), X, y, gw)
            if found is not None:
                return found[0], gw, found[1]
    given = ((w, "w"), (X, "X"), (y, "y"), (sample_weight, "sample_weight"))
    dtype = w.dtype if type(w) is _ndarray and check.is_float(w.dtype) else None
    if dtype is None or type(X) is not _ndarray or X.dtype is not dtype or type(b) is _ndarray:
        dtype = check.common_dtype((w, "w"), (b, "b"), (X, "X"), (y, "y"))
    w = check.float_array(w, "w", dtype, 1)
    d = w.shape[0]
    b = check.scalar(b, "b")
    X = check.matrix(X, "X", dtype, d, nonempty=True)
    n = X.shape[0]
    y = check.float_array(y, "y", dtype, 1)
    check.rows(y, "y", n)
    if sample_weight is not None:
        sample_weight = check.weights(sample_weight, "sample_weight", dtype, n)
    if out is None:
        gw = np.empty(d, dtype)
    else:
        checked = (w, "w"), (X, "X"), (y, "y"), (sample_weight, "sample_weight")
        gw = check.output(out, "out", (d,), dtype, *given, *checked)
    plan = neuron_plan(n, d, dtype, sample_weight is not None)
    arrays = (w, b, X, y, sample_weight, gw)
    loss, gb = run(plan, run_neuron, arrays, threads, neuron_bias_gradient)
    if sample_weight is None and threads is None:
        _paths[X.dtype].open(X.shape, plan, (w, b, X, y, gw))
    return loss, gw, gb


def neuron_grad(w: ArrayOf[F], b: Scalar, X: ArrayOf[F]) -> tuple[NDArray[F], NDArray[F]]:
    """The gradient of each row's activation: x and 1 where the neuron is active, else 0.

    Parameters
    ----------
    w : array (d,)
    b : float
    X : array (n, d)

    Returns
    -------
    dw : ndarray (n, d)
        d activation / d w of each row, a row of zeros where w.x + b <= 0 (formula 17).
    db : ndarray (n,)
        d activation / d b: 1 or 0.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.neuron_grad(np.array([1.0, 2.0]), -3.0, np.array([[1.0, 1.0], [2.0, 1.0]]))
    (array([[0., 0.],
           [2., 1.]]), array([0., 1.]))
    """
    w, b, X, dtype = _parameters(w, b, X)
    dw, db = np.empty(X.shape, dtype), np.empty(X.shape[0], dtype)
    kernels.neuron_rows(dw, db, w, dtype.type(b), X)
    return dw, db


def relu(Z: Values[F], *, out: NDArray[F] | None = None) -> NDArray[F]:
    """max(0, Z) element by element; NaN stays NaN (formula 2).

    Parameters
    ----------
    Z : array
        Any shape; float32 or float64 (integers and lists become float64).
    out : ndarray, the shape of Z, optional
        Where to write: Z's dtype, contiguous; Z itself, or disjoint from it.

    Returns
    -------
    A : ndarray
        The same shape; 0.0 where Z <= 0, -0.0 included.

    Raises
    ------
    TypeError, ValueError
        If Z has another dtype, or `out` does not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    given = Z
    Z = check.float_array(Z, "Z", check.common_dtype((Z, "Z")))
    if out is None:
        out = np.empty(Z.shape, Z.dtype)
    else:
        inputs = () if out is given else ((given, "Z"), (Z, "Z"))
        check.output(out, "out", Z.shape, Z.dtype, *inputs)
    kernels.relu(out.reshape(-1), Z.reshape(-1))
    return out


def relu_mask(Z: Values[F], *, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """The derivative of ReLU as a bool mask: `not (Z <= 0)`, so False at 0, True for NaN.

    Parameters
    ----------
    Z : array
        Any shape; pre-activations or activations (both have the same mask).
    out : ndarray of bool, the shape of Z, optional
        Where to write: contiguous, disjoint from Z.

    Returns
    -------
    mask : ndarray of bool
        The same shape (formula 16).

    Raises
    ------
    TypeError, ValueError
        If Z has a dtype that is not float32, float64, integer or bool, or `out` does not fit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.relu_mask([-1.0, 0.0, 2.0])
    array([False, False,  True])
    """
    given = Z
    Z = check.float_array(Z, "Z", check.common_dtype((Z, "Z")))
    if out is None:
        out = np.empty(Z.shape, np.bool_)
    else:
        check.output(out, "out", Z.shape, check.BOOL, (given, "Z"), (Z, "Z"))
    kernels.relu_mask(out.reshape(-1), Z.reshape(-1))
    return out
