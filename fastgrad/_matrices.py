"""Matrices of second derivatives of a network's loss: diagonals, factors and whole ones.

Public in `fastgrad.curvature`, which says what they are of; formulas 36 and 37.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import loss_arguments, output
from ._core.names import list_public
from .kernels import records as at
from .typing import ArrayOf, D, Numbers

if TYPE_CHECKING:
    from .network import MLP

__all__ = ["ggn", "ggn_diagonal", "hessian", "kfac_factors"]
list_public(globals())


def ggn_diagonal(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The diagonal of Gauss and Newton's matrix of the loss.

    Parameters
    ----------
    net : MLP
    theta, X, y, sample_weight
        As for `hvp`; X is dense.
    out : ndarray (p,), optional
        Where to write the diagonal: same dtype, contiguous, disjoint from the inputs.
    threads : int, optional

    Returns
    -------
    diagonal : ndarray (p,)
        In the order of theta, none negative.

    Raises
    ------
    TypeError, ValueError
        As for `hvp`.

    Notes
    -----
    Formula 36: exact, with one way back for each of the k outputs. The weight gradients of all ways
    are one product, since what enters a layer is the same for all.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.ggn_diagonal(net, theta, X, y).round(12)
    array([10.,  2.])
    """
    given = theta, X, y, sample_weight
    theta, X, y, sample_weight = loss_arguments(net, theta, X, y, sample_weight)
    checked, names = (theta, X, y, sample_weight), ("theta", "X", "y", "sample_weight")
    out = output(out, "out", theta.shape, net.dtype, names, given, checked)
    net._run(at.GRADIENT | at.DIAGONAL, theta, X, y, sample_weight, out, None, threads)
    if net.l2:
        for W, _ in net.unflatten(out):
            W += net.l2
    return out


def kfac_factors(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    threads: int | None = None,
) -> list[tuple[NDArray[D], NDArray[D]]]:
    """The factors of Kronecker's approximation to Gauss and Newton's matrix, layer by layer.

    Parameters
    ----------
    net : MLP
        `l2` has no part in the factors: add it to what they approximate.
    theta, X, y, sample_weight
        As for `hvp`; X is dense.
    threads : int, optional

    Returns
    -------
    factors : list of (A, B)
        A (d + 1, d + 1) is the mean over samples of [a, 1] [a, 1]^T, with a what enters the layer
        and the 1 for its bias: by `sample_weight`, if it is given. B (k, k) is the mean over
        samples of the sum of D_s D_s^T, with D_s the derivatives by the layer's pre-activations
        back from column s of S, S S^T the Hessian of a row's loss by its outputs. Both are
        symmetric to the last bit. The block of G of a layer's [W; b], flattened row by row, is
        approximately np.kron(A, B): exactly, where a and D do not depend on each other, and for a
        single row.

    Raises
    ------
    TypeError, ValueError
        As for `hvp`.

    Notes
    -----
    Formula 37 (Martens and Grosse, arXiv 1503.05671), with one way back for each output in the
    place of sampled labels. The losses that are means over outputs have that 1/k in B.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> [(A, B)] = fg.curvature.kfac_factors(net, theta, X, y)
    >>> A.round(12).tolist(), B.round(12).tolist()
    ([[5.0, 2.0], [2.0, 1.0]], [[2.0]])
    """
    theta, X, y, sample_weight = loss_arguments(net, theta, X, y, sample_weight)
    shapes = [shape for d, k in zip(net.layer_sizes, net.layer_sizes[1:]) for shape in (d + 1, k)]
    ends = np.cumsum(np.square(shapes))
    out = np.empty(int(ends[-1]), net.dtype)
    net._run(at.GRADIENT | at.FACTORS, theta, X, y, sample_weight, out, None, threads)
    parts = [part.reshape(m, m) for part, m in zip(np.split(out, ends[:-1]), shapes)]
    return list(zip(parts[::2], parts[1::2]))


def hessian(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The Hessian of the loss, for networks of up to some thousand parameters.

    Parameters
    ----------
    net : MLP
    theta, X, y, sample_weight
        As for `hvp`; X is dense.
    out : ndarray (p, p), optional
        Where to write the matrix: same dtype, contiguous, disjoint from the inputs.
    threads : int, optional

    Returns
    -------
    matrix : ndarray (p, p)
        Symmetric to the last bit.

    Raises
    ------
    TypeError, ValueError
        As for `hvp`.
    MemoryError
        If so many numbers cannot be addressed.

    Notes
    -----
    Formula 34, with one pass for each unit in the place of one for each parameter: the weights of a
    unit move its pre-activation by what enters the layer, so they share their tangents. The last
    product, of the size n p^2, is most of the work. A float32 network takes p^2 numbers of float64
    besides.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.hessian(net, theta, X, y)
    array([[10.,  4.],
           [ 4.,  2.]])
    """
    return _matrix(at.SECOND, net, theta, X, y, sample_weight, out, threads)


def ggn(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """Gauss and Newton's matrix of the loss, for networks of up to some thousand parameters.

    Parameters, returns and errors are those of `hessian`.

    Notes
    -----
    Formula 35, unit by unit as in `hessian`: its cost does not grow with the number of outputs.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.curvature.ggn(net, theta, X, y)
    array([[10.,  4.],
           [ 4.,  2.]])
    """
    return _matrix(0, net, theta, X, y, sample_weight, out, threads)


def _matrix(second, net, theta, X, y, sample_weight, out, threads):
    given, names = (theta, X, y, sample_weight), ("theta", "X", "y", "sample_weight")
    theta, X, y, sample_weight = loss_arguments(net, theta, X, y, sample_weight)
    p = net.n_parameters
    check.addressable(p * p, net.dtype, "the matrix")
    out = output(out, "out", (p, p), net.dtype, names, given, (theta, X, y, sample_weight))
    net._run(at.MATRIX | second, theta, X, y, sample_weight, out, None, threads)
    if net.l2:
        diagonal = out.reshape(-1)[:: p + 1]
        for W, _ in net.unflatten(diagonal):
            W += net.l2
    return out


for _public in (ggn_diagonal, kfac_factors, hessian, ggn):
    _public.__module__ = "fastgrad.curvature"  # where they are public: pickles name it
