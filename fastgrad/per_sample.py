"""The gradients of single samples: their norms, clipped sums, inner products, or themselves.

Row i of X has a loss of its own, that of the network for this row alone, without `l2`: a mean over
outputs where the loss is one, times `sample_weight[i]` if there are weights, not divided by n. Its
gradient by theta is g_i (p,). So ``grads(...).sum(0) / n``, or ``/ sample_weight.sum()``, is the
gradient of `MLP.loss_and_grad` but for the penalty.

The gradient of a sample by the weights of a layer is a_i delta_i^T: what enters the layer, times
its delta, both of which a step has in cache. All but `grads` work on these two factors and form no
gradient of a sample. Results have the same bits on any number of threads. NaN and infinity show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import checked_network, output
from ._core.gram import gram as _gram
from ._core.gram import loss_factors, output_factors
from ._core.names import list_public
from ._core.rows import open_quick, quick, run_checked
from ._core.threads import check_threads
from .kernels import records as at
from .typing import ArrayOf, D, Numbers, Rows, Scalar

if TYPE_CHECKING:
    from .network import MLP

__all__ = ["clipped_loss_and_grad", "grad_norms", "grads", "gram", "ntk"]
list_public(globals())

_CLIPPED = at.GRADIENT | at.ROW_NORMS
_FIRST, _SECOND = ("X", "y", "sample_weight"), ("X2", "y2", "sample_weight2")


def _rows(net, X, y, s, names, sparse: bool = False):
    """Checked (X, y, s), of 0 rows too; `sparse`: whether X may be."""
    of_X, of_y, of_s = names
    X = (check.inputs if sparse else check.matrix)(X, of_X, net.dtype, net.n_inputs)
    n = len(X)
    for value, name in ((y, of_y), (s, of_s)):
        if getattr(value, "ndim", 0):
            check.rows(value, name, n, of_X)
    y = net._loss.targets(y, of_y, net.dtype, n, net.n_outputs).reshape(-1)
    if s is not None:
        s = check.row_weights(s, of_s, net.dtype, n)
    return X, y, s


def _theta(net, theta):
    return check.vector(theta, "theta", net.dtype, net.n_parameters, ": one flat vector")


def _result(out, shape, dtype, given, checked):
    """The array to write to, which is none of what was given, nor of what was made of it."""
    return output(out, "out", shape, dtype, ("theta", *_FIRST, *_SECOND), given, checked)


def grad_norms(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Rows,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The norm of each sample's gradient, ||g_i||, in one pass over X.

    Parameters
    ----------
    net : MLP
    theta : array (p,)
    X : array (n, d), or sparse
        0 rows are allowed; CSR as `MLP.loss_and_grad` takes it.
    y : array
        As for `MLP.loss_and_grad`.
    sample_weight : array (n,), optional
        The loss of row i is multiplied by its weight, so its norm is too. None negative; nothing is
        divided by their sum, which may be 0.
    out : ndarray (n,), optional
        Where to write the norms: same dtype, contiguous, disjoint from the inputs.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    norms : ndarray (n,) of `net.dtype`
        Euclidean norms over all parameters (not their squares) of the rows' own losses: see the
        module; `l2` has no part in them. Right for gradients of any size that the dtype holds.

    Raises
    ------
    TypeError, ValueError
        As `MLP.loss_and_grad`.

    Notes
    -----
    Formula 31: ||g_i||^2 is the sum over layers of (1 + ||a_i||^2) ||delta_i||^2 (Goodfellow,
    *Efficient Per-Example Gradient Computations*, 2015, arXiv 1510.01799), added up in float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> X, y = np.array([[0.0], [2.0]]), np.array([0.0, 9.0])
    >>> fg.per_sample.grad_norms(net, np.array([2.0, 1.0]), X, y).round(3)
    array([ 2.   , 17.889])
    """
    if sample_weight is threads is None:
        done = quick(net, at.ROW_NORMS, theta, X, y, 0.0, out)
        if done:
            return done[1]
    given = theta, X, y, sample_weight
    checked = _checked(net, *given, sparse=True)
    out = _result(out, (len(checked[1]),), net.dtype, given, checked)
    _run_rows(net, at.ROW_NORMS, checked, (None, out, None), threads)
    if sample_weight is threads is None and out.size and type(checked[1]) is np.ndarray:
        open_quick(net, at.ROW_NORMS, *checked[:3], 0.0, out)
    return out


def _checked(net, theta, X, y, sample_weight, sparse: bool = False):
    checked_network(net)
    return _theta(net, theta), *_rows(net, X, y, sample_weight, _FIRST, sparse)


def _run_rows(net, want, checked, outputs, threads):
    if threads is not None:
        check_threads(threads)
    if len(checked[1]):
        run_checked(net, want, checked, outputs, 0.0, threads)


def grads(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """Each sample's gradient, g_i, as a row of an (n, p) array.

    That is n p numbers to write, most of the work: where their norms, their clipped sum or their
    inner products will do, the other functions here are far cheaper.

    Parameters
    ----------
    net, theta, X, y, sample_weight, threads
        As for `grad_norms`; X is dense.
    out : ndarray (n, p), optional
        Where to write them: same dtype, contiguous, disjoint from the inputs.

    Returns
    -------
    grads : ndarray (n, p) of `net.dtype`
        In the order of theta, of the rows' own losses: see the module.

    Raises
    ------
    TypeError, ValueError
        As `MLP.loss_and_grad`.

    Notes
    -----
    Formula 31: dW_i = a_i delta_i^T, db_i = delta_i.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> X, y = np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.per_sample.grads(net, np.array([2.0, 1.0]), X, y)
    array([[  6.,   6.],
           [-12.,  -4.]])
    """
    given = theta, X, y, sample_weight
    checked = _checked(net, *given)
    out = _result(out, (len(checked[1]), net.n_parameters), net.dtype, given, checked)
    _run_rows(net, at.ROW_GRADIENTS, checked, (None, None, out), threads)
    return out


def clipped_loss_and_grad(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Rows,
    y: Numbers,
    max_norm: Scalar,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> tuple[float, NDArray[D]]:
    """The loss, and the mean of the samples' gradients, each clipped to a norm, in one pass over X.

    Parameters
    ----------
    net, theta, X, y, sample_weight, threads
        As for `MLP.loss_and_grad`: at least one row.
    max_norm : float
        C, above 0; infinity clips nothing.
    out : ndarray (p,), optional
        Where to write the gradient: same dtype, contiguous, disjoint from the inputs.

    Returns
    -------
    loss : float
        As of `MLP.loss_and_grad`, `l2` included: nothing of it is clipped.
    grad : ndarray (p,)
        (1/n) sum of min(1, C/||g_i||) g_i, plus the gradient of the penalty if `l2` is set. With
        weights s: g_i is that of s_i times the row's loss, and 1/n becomes 1/sum(s). Multiply by n
        (by sum(s)) for the sum, whose change by one sample is at most C: what differential privacy
        asks for. A row whose norm is NaN or infinite makes the gradient NaN, unless C is infinite.

    Raises
    ------
    TypeError, ValueError
        As `MLP.loss_and_grad`, or if `max_norm` is not a number above 0.

    Notes
    -----
    Formula 32 (Abadi et al., *Deep Learning with Differential Privacy*, 2016, arXiv 1607.00133,
    algorithm 1): the rows of every delta are scaled, then dW = A^T Delta is the plain product. With
    C infinite it has the bits of `MLP.loss_and_grad`, but for one neuron, whose loop is another,
    and for sparse rows with duplicates, which are added up in a copy first.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> X, y = np.array([[0.0], [3.0]]), np.array([0.5, 9.0])
    >>> theta = np.array([2.0, 1.0])
    >>> fg.per_sample.clipped_loss_and_grad(net, theta, X, y, max_norm=1.0)[1].round(3)
    array([-0.474,  0.342])
    """
    if sample_weight is threads is None and type(max_norm) is float and max_norm > 0:
        done = quick(net, _CLIPPED, theta, X, y, max_norm, out)
        if done:
            return done
    given = theta, X, y, sample_weight
    checked_network(net)
    checked = net._checked(*given)
    most = check.scalar(max_norm, "max_norm")
    if not most > 0:
        raise ValueError(f"max_norm is {most}; expected a number above 0, infinity to clip nothing")
    out = _result(out, checked[0].shape, net.dtype, given, checked)
    loss = run_checked(net, _CLIPPED, checked, (out, None, None), most, threads)
    if sample_weight is threads is None and type(checked[1]) is np.ndarray:
        open_quick(net, _CLIPPED, *checked[:3], most, out)
    return loss, out


def gram(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    y: Numbers,
    X2: Numbers | None = None,
    y2: Numbers | None = None,
    *,
    sample_weight: Numbers | None = None,
    sample_weight2: Numbers | None = None,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """Inner products of the samples' gradients, G[i, j] = g_i . g_j, without forming one.

    Parameters
    ----------
    net, theta, X, y, sample_weight, threads
        As for `grad_norms`; X is dense.
    X2, y2, sample_weight2 : arrays (n2, d), (n2, k) or as y, (n2,), optional
        Other samples for the columns; without them the same.
    out : ndarray (n, n2), optional
        Where to write them: same dtype, contiguous, disjoint from the inputs.

    Returns
    -------
    G : ndarray (n, n2) of `net.dtype`
        Of the rows' own losses: see the module. Without X2 (n, n), exactly symmetric.

    Raises
    ------
    TypeError, ValueError
        As `MLP.loss_and_grad`, or if only one of X2 and y2 is given.

    Notes
    -----
    Formula 33: the sum over layers of (1 + A A2^T) * (Delta Delta2^T), element by element. Beside
    the result it takes the memory of the factors: n times the sum of all widths.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> X, y = np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.per_sample.gram(net, np.array([2.0, 1.0]), X, y)
    array([[ 72., -96.],
           [-96., 160.]])
    """
    given = theta, X, y, sample_weight, X2, y2, sample_weight2
    first = _checked(net, *given[:4])
    second = ()
    if X2 is not None and y2 is not None:
        second = _rows(net, X2, y2, sample_weight2, _SECOND)
    elif X2 is not None or y2 is not None or sample_weight2 is not None:
        absent = "X2" if X2 is None else "y2"
        raise ValueError(f"{absent} is None; expected X2 and y2, or neither and no sample_weight2")
    X, other = first[1], (second or first[1:])[0]
    out = _result(out, (len(X), len(other)), net.dtype, given, (*first, *second))
    if threads is not None:
        check_threads(threads)
    if out.size:
        of_first = loss_factors(net, *first, threads)
        of_second = loss_factors(net, first[0], *second, threads) if second else None
        _gram(of_first, of_second, out, threads)
    return out


def ntk(
    net: MLP[D],
    theta: ArrayOf[D],
    X: Numbers,
    X2: Numbers | None = None,
    *,
    trace: bool = False,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> NDArray[D]:
    """The empirical neural tangent kernel: inner products of the outputs' gradients.

    Parameters
    ----------
    net, theta, threads
        As for `grad_norms`; the loss and `l2` have no part in it.
    X : array (n, d)
    X2 : array (n2, d), optional
        Other samples for the second axis; without them the same.
    trace : bool
        True gives the mean over outputs of those of an output with itself, an (n, n2) array: the
        trace over the last two axes divided by k, as neural-tangents has it by default. It costs a
        k-th.
    out : ndarray, the shape of the result, optional
        Where to write it: same dtype, contiguous, disjoint from the inputs.

    Returns
    -------
    kernel : ndarray (n, n2, k, k), or (n, n2) with `trace`, of `net.dtype`
        kernel[i, j, c, e] is the gradient of output c for row i times that of output e for row j of
        X2 (`trace_axes=()` in neural-tangents). Without X2 exactly symmetric: kernel[i, j, c, e] ==
        kernel[j, i, e, c]. With one output `trace=True` drops the axes of length 1, nothing else.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit; the message names the argument.

    Notes
    -----
    Formula 33 with one delta for each output (Jacot et al., *Neural Tangent Kernel*, 2018, arXiv
    1806.07572). No Jacobian is made.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 2], loss="mse")
    >>> fg.per_sample.ntk(net, np.zeros(4), np.array([[1.0], [3.0]]))[0, 1]
    array([[4., 0.],
           [0., 4.]])
    """
    checked_network(net)
    trace = check.boolean(trace, "trace")
    given = theta, X, None, None, X2
    theta, k = _theta(net, theta), net.n_outputs
    X = check.matrix(X, "X", net.dtype, net.n_inputs)
    second = None if X2 is None else check.matrix(X2, "X2", net.dtype, net.n_inputs)
    other = X if second is None else second
    shape = (len(X), len(other)) if trace else (len(X), len(other), k, k)
    out = _result(out, shape, net.dtype, given, (theta, X, None, None, second))
    if threads is not None:
        check_threads(threads)
    if out.size:
        of_first = output_factors(net, theta, X, threads)
        of_second = None if second is None else output_factors(net, theta, second, threads)
        _gram(of_first, of_second, out, threads, trace, 1 / k if trace else 1.0)
    return out
