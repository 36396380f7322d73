"""Derivatives of a network's outputs: products with its Jacobian, and the Jacobian itself.

Functions of an `MLP`. `vjp` goes back from any derivative by the outputs, so it is the way to any
loss of one's own; `jvp` goes forward along a tangent. Both are exact and take one pass over X; the
slope of an activation at its kink is that of `fastgrad.activations`, 0 for ReLU. Formula 30.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import inputs, output, outputs, tangents
from ._core.csr import Csr, bound_rows
from ._core.names import list_public
from ._core.run import run
from ._core.threads import check_threads
from .kernels import records as at
from .kernels.bind import run_jacobian, run_jvp, run_vjp
from .typing import ArrayOf, D, Numbers, Rows

if TYPE_CHECKING:
    from .network import MLP

__all__ = ["input_jacobian", "jacobian", "jvp", "vjp"]
list_public(globals())


@overload
def vjp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, cotangent: Numbers,
    need_gX: Literal[False] = ..., *, out: NDArray[D] | None = ..., threads: int | None = ...,
) -> NDArray[D]: ...  # fmt: skip
@overload
def vjp(
    net: MLP[D], theta: ArrayOf[D], X: Rows, cotangent: Numbers,
    need_gX: Literal[True], *, out: tuple[NDArray[D], NDArray[D]] | None = ...,
    threads: int | None = ...,
) -> tuple[NDArray[D], NDArray[D]]: ...  # fmt: skip
def vjp(
    net: Any, theta: Any, X: Any, cotangent: Any, need_gX: bool = False, *, out: Any = None,
    threads: int | None = None,
) -> Any:  # fmt: skip
    """The gradient of sum(cotangent * outputs): a row vector times the Jacobian of the outputs.

    Parameters
    ----------
    net : MLP
        Its loss and `l2` have no part in this.
    theta : array (p,)
        Parameters, of the network's dtype.
    X : array (n, d), or sparse
        Any layout (C order needs no copy); CSR as `MLP.loss_and_grad` takes it, without `need_gX`.
        0 rows are allowed: the sum is then 0.
    cotangent : array (n, k)
        The derivative of a loss of one's own by `net.predict(theta, X)`; (n,) stands for (n, 1).
    need_gX : bool
        Whether the gradient with respect to X is wanted too.
    out : ndarray (p,), optional
        Where to write the first gradient, or with `need_gX` a pair of arrays (p,) and (n, d): same
        dtype, contiguous, disjoint from the inputs. Overwritten, never added to.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    gtheta : ndarray (p,)
        In the order of theta: a sum over samples and outputs, no mean.
    gX : ndarray (n, d)
        With `need_gX` alone.

    Raises
    ------
    TypeError, ValueError
        If net is no MLP, or a dtype or a shape does not fit: the message names the argument, and
        nothing has been written.

    Notes
    -----
    Formula 30: the way back of formula 24, from any cotangent of the outputs. A cotangent passes an
    output ReLU where the output is not 0 or less. NaN in X, theta or the cotangent shows.

    Examples
    --------
    The mean of log cosh(outputs - y) has the derivative tanh(outputs - y) / n by the outputs:

    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1])
    >>> theta, X, y = np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([[3.0], [7.0]])
    >>> fg.jacobians.vjp(net, theta, X, np.tanh(net.predict(theta, X) - y) / len(X))
    array([0., 0.])
    """
    plain = need_gX is False and threads is None
    if plain:
        gtheta = _quick_vjp(net, theta, X, cotangent, out)
        if gtheta is not None:
            return gtheta
    given = theta, X, cotangent
    theta, X = inputs(net, theta, X, sparse=need_gX is False)
    cotangent = check.targets(cotangent, "cotangent", net.dtype, len(X), net.n_outputs)
    checked, names = (theta, X, cotangent), ("theta", "X", "cotangent")
    gtheta, gX = outputs(out, need_gX, "need_gX", theta, X, names, given, checked)
    back(net, theta, X, cotangent, gtheta, gX, threads)
    if plain and len(X) and type(X) is np.ndarray:
        plan, cotangent = _back_plan(net, len(X), at.GRADIENT), cotangent.reshape(len(X), -1)
        forms = [cotangent, cotangent.reshape(-1)] if net.n_outputs == 1 else [cotangent]
        net._vjp_path.open(X.shape, plan, *((theta, X, form, gtheta) for form in forms))
    return (gtheta, gX) if need_gX else gtheta


def _quick_vjp(net, theta, X, cotangent, out):
    """The gradient on the fast path; None where it is not open or does not take these arguments."""
    path = getattr(net, "_vjp_path", None)  # net is not checked yet
    if path is None or not type(theta) is type(X) is type(cotangent) is np.ndarray:
        return None
    if out is None:
        out = np.empty(net.n_parameters, net.dtype)
    elif type(out) is not np.ndarray:
        return None
    return None if path.call(X.shape, theta, X, cotangent, out) is None else out


def _back_plan(net, n: int, want: int, sparse: bool = False):
    return net._plan(n, at.COTANGENT | want, False, sparse)


def back(net, theta, X, cotangent, gtheta, gX, threads=None) -> None:
    """`vjp` of checked arrays, to those of the two gradients that are not None."""
    if threads is not None:
        check_threads(threads)
    want = 0 if gtheta is None else at.GRADIENT
    want |= 0 if gX is None else at.INPUT_GRADIENT
    if len(X) and want:
        plan = _back_plan(net, len(X), want, type(X) is Csr)
        with bound_rows(plan, X) as rows:
            run(plan, run_vjp, (theta, rows, cotangent.reshape(-1), gtheta, gX), threads)
    elif gtheta is not None:
        gtheta[:] = 0


def jvp(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Rows,
    tangent: ArrayOf[D] | None,
    tangent_X: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The derivative of the outputs along a tangent of theta, and of X: the Jacobian times it.

    Parameters
    ----------
    net : MLP
        Its loss and `l2` have no part in this.
    theta : array (p,)
    X : array (n, d), or sparse
        CSR as `MLP.loss_and_grad` takes it, without `tangent_X`. 0 rows are allowed.
    tangent : array (p,) or None
        The direction in which theta moves; None: theta stays, and `tangent_X` is needed.
    tangent_X : array (n, d), optional
        The direction in which X moves.
    out : ndarray (n, k), optional
        Where to write the result: same dtype, contiguous, disjoint from the inputs.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    tangents : ndarray (n, k)
        Of the outputs. A row's have the same bits in any batch.

    Raises
    ------
    TypeError, ValueError
        If net is no MLP, neither tangent is given, or a dtype or a shape does not fit: the message
        names the argument, and nothing has been written.

    Notes
    -----
    Formula 30: RZ = RX W + X RW + Rb and RA = RZ times the slope, layer by layer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1])
    >>> theta, X = np.array([2.0, 1.0]), np.array([[1.0], [3.0]])
    >>> fg.jacobians.jvp(net, theta, X, np.array([1.0, 0.5]))
    array([[1.5],
           [3.5]])
    """
    given, names = (theta, X, tangent, tangent_X), ("theta", "X", "tangent", "tangent_X")
    theta, X = inputs(net, theta, X, sparse=tangent_X is None)
    tangent, tangent_X = tangents(net, len(X), tangent, tangent_X, ("tangent", "tangent_X"))
    checked = theta, X, tangent, tangent_X
    out = output(out, "out", (len(X), net.n_outputs), net.dtype, names, given, checked)
    if threads is not None:
        check_threads(threads)
    if len(X):
        plan = net._plan(len(X), at.OUTPUTS | at.TANGENT, False, type(X) is Csr)
        with bound_rows(plan, X) as rows:
            run(plan, run_jvp, (theta, tangent, rows, tangent_X, out), threads)
    return out


def jacobian(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The derivatives of every row's outputs by theta.

    Parameters
    ----------
    net : MLP
    theta : array (p,)
    X : array (n, d)
        0 rows are allowed.
    out : ndarray (n, k, p), optional
        Where to write: same dtype, contiguous, disjoint from the inputs.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    jacobian : ndarray (n, k, p)
        [i, j] is the gradient of output j of row i. It takes n k p numbers of memory, and as long
        as it takes to write them: for products with it, `jvp` and `vjp` need none of it.

    Raises
    ------
    TypeError, ValueError
        If net is no MLP, or a dtype or a shape does not fit: the message names the argument.
    MemoryError
        If so many numbers cannot be addressed.

    Notes
    -----
    Formula 30: one way back for each output, then the outer product of a row's activations and
    deltas.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1])
    >>> fg.jacobians.jacobian(net, np.array([2.0, 1.0]), np.array([[1.0], [3.0]]))
    array([[[1., 1.]],
           [[3., 1.]]])
    """
    return _jacobian(net, theta, X, out, threads, False)


def input_jacobian(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The derivatives of every row's outputs by its inputs.

    Parameters and errors are those of `jacobian`.

    Returns
    -------
    jacobian : ndarray (n, k, d)
        [i, j] is the gradient of output j of row i by that row of X.

    Notes
    -----
    Formula 30.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1])
    >>> fg.jacobians.input_jacobian(net, np.array([2.0, 1.0]), np.array([[1.0], [3.0]]))
    array([[[2.]],
           [[2.]]])
    """
    return _jacobian(net, theta, X, out, threads, True)


def _jacobian(net, theta, X, out, threads, by_inputs: bool):
    given = theta, X
    theta, X = inputs(net, theta, X)
    shape = len(X), net.n_outputs, net.n_inputs if by_inputs else net.n_parameters
    check.addressable(math.prod(shape), net.dtype, "jacobian")
    out = output(out, "out", shape, net.dtype, ("theta", "X"), given, (theta, X))
    if threads is not None:
        check_threads(threads)
    if len(X):
        want = at.COTANGENT | at.JACOBIAN | (at.INPUT_GRADIENT if by_inputs else 0)
        plan, places = net._plan(len(X), want, False), (None, out) if by_inputs else (out, None)
        run(plan, run_jacobian, (theta, X, *places), threads)
    return out
