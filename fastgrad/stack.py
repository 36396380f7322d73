"""Stacks: many networks of one shape in one call (formula 39).

Each network has the bits of its own call, `MLP.loss_and_grad` or `MLP.predict`; threads go over the
networks, and inside them where these are few and large. All networks share X, y and weights, or
each has its own. check -> plan -> one kernel for all networks -> result.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import check, stacked
from ._core.calls import checked_network
from ._core.csr import Csr, bound_rows, named_arrays
from ._core.ensemble import mean_outputs
from ._core.names import list_public
from ._core.run import run_stack
from ._core.threads import check_threads
from .kernels import records as at
from .kernels.bind import run_forward, run_step
from .kernels.records import CALL
from .network import MLP
from .typing import ArrayOf, D, InitName, Numbers, Rows, Seed

__all__ = ["ensemble", "init", "loss_and_grad", "predict"]
list_public(globals())

ENSEMBLE_BYTES = 4 * 2**20  # outputs of all networks that are averaged at a time


def init(net: MLP[D], seeds: Iterable[Seed], method: InitName = "he") -> NDArray[D]:
    """Initial parameters of a stack: a row `net.init(seed, method)` for each seed.

    Parameters
    ----------
    net : MLP
    seeds : sequence
        Of what `MLP.init` takes for a seed, as ``range(100)``.
    method : {"he", "glorot"}

    Returns
    -------
    thetas : ndarray (m, p) of the network's dtype

    Raises
    ------
    TypeError, ValueError
        If `seeds` is no sequence, or for a seed or a method as `MLP.init`.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.stack.init(fg.MLP([3, 4, 1]), seeds=range(5)).shape
    (5, 21)
    """
    checked_network(net)
    seeds = as_list(seeds, "seeds", "range(10)")
    thetas = np.empty((len(seeds), net.n_parameters), net.dtype)
    for i, seed in enumerate(seeds):
        thetas[i] = net.init(check.generator(seed, f"seeds[{i}]"), method)
    return thetas


def as_list(values: Any, name: str, example: str) -> list[Any]:
    """The items of a sequence that is no text."""
    try:
        if isinstance(values, (str, bytes)):
            raise TypeError
        return list(values)
    except TypeError:
        raise TypeError(f"{name} is {values!r}; expected a sequence such as {example}") from None


def loss_and_grad(
    net: MLP[D],
    thetas: ArrayOf[D],
    X: Rows,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    out: NDArray[D] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[D]]:
    """The loss and gradient of each network of a stack.

    Parameters
    ----------
    net : MLP
        What the networks have in common.
    thetas : array (m, p)
        Their parameters, of the network's dtype.
    X : array (n, d) or (m, n, d), or sparse (n, d)
        Inputs, n >= 1: of all networks, or of each. CSR as for `MLP.loss_and_grad`.
    y : array
        As for `MLP.loss_and_grad`, for all networks; or with an axis of m before the rows.
    sample_weight : array (n,) or (m, n), optional
        None negative, and for no network all zero.
    out : ndarray (m, p), optional
        Where to write the gradients: same dtype, contiguous, disjoint from the inputs.
        Overwritten, never added to. Without it a fresh array is returned.
    threads : int, optional
        The most threads of this call; the bits do not depend on it.

    Returns
    -------
    losses : ndarray (m,), float64
        Each normalised as `MLP` says: a mean over the rows, none over the networks.
    grads : ndarray (m, p)

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape, a label or the number of networks does not fit: the message names the
        argument, and nothing has been written.

    Notes
    -----
    Formula 39: formulas 18 to 20 and 24 for m parameter vectors. ``losses[i], grads[i]`` has the
    bits of ``net.loss_and_grad(thetas[i], X, y)``, or of ``X[i], y[i]``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="mse")
    >>> thetas = np.array([[2.0, 1.0], [0.0, 0.0]])
    >>> X, y = np.array([[1.0], [3.0]]), np.array([0.0, 9.0])
    >>> fg.stack.loss_and_grad(net, thetas, X, y)
    (array([ 6.5, 40.5]), array([[ -3.,   1.],
           [-27.,  -9.]]))
    """
    checked_network(net)
    if threads is not None:
        threads = check_threads(threads)
    given = thetas, X, y, sample_weight
    thetas = stacked.parameters(thetas, net)
    m = len(thetas)
    X, own_x = stacked.inputs(X, net, m, nonempty=True)
    n = X.shape[-2]
    y, own_y = stacked.targets(y, net, m, n)
    s, own_s = stacked.weights(sample_weight, net, m, n)
    if out is None:
        out = np.empty(thetas.shape, net.dtype)
    else:
        names = "thetas", "X", "y", "sample_weight"
        check.output(
            out, "out", thetas.shape, net.dtype, *zip(given, names), (thetas, "thetas"),
            *named_arrays(X), (y, "y"), (s, "sample_weight"),
        )  # fmt: skip
    stride = {
        CALL.theta: thetas.strides[0], CALL.bias: thetas.strides[0], CALL.out: out.strides[0],
        CALL.x: own_x and X.strides[0], CALL.weights: own_s and s.strides[0],
        CALL.labels if net.spec.loss.labelled else CALL.targets: own_y and y.strides[0],
    }  # fmt: skip

    losses = np.empty(m)
    plan = net._plan(n, at.LOSS | at.GRADIENT, s is not None, type(X) is Csr)
    with bound_rows(plan, X) as rows:

        def arrays_of(i):
            parts = (rows, own_x), (y, own_y), (s, own_s)
            return thetas[i], *(array[i] if own else array for array, own in parts), out[i], None

        run_stack(plan, run_step, losses, 3 * _flops(net, X), stride, arrays_of, threads)
    return losses, out


def predict(net: MLP[D], thetas: ArrayOf[D], X: Rows, *, threads: int | None = None) -> NDArray[D]:
    """Outputs of the last layer of each network of a stack, as `MLP.predict`.

    Parameters
    ----------
    net : MLP
    thetas : array (m, p)
    X : array (n, d) or (m, n, d), or sparse (n, d)
        Inputs of all networks, or of each; 0 rows are allowed.
    threads : int, optional
        The most threads of this call.

    Returns
    -------
    out : ndarray (m, n, k) of the network's dtype
        ``out[i]`` has the bits of ``net.predict(thetas[i], X)``, or of ``X[i]``.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape or the number of networks does not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([2, 8, 3])
    >>> fg.stack.predict(net, fg.stack.init(net, range(10)), np.zeros((5, 2))).shape
    (10, 5, 3)
    """
    checked_network(net)
    if threads is not None:
        threads = check_threads(threads)
    thetas = stacked.parameters(thetas, net)
    m = len(thetas)
    X, own_x = stacked.inputs(X, net, m, nonempty=False)
    n = X.shape[-2]
    out = np.empty((m, n, net.n_outputs), net.dtype)
    if not out.size:
        return out
    stride = {
        CALL.theta: thetas.strides[0], CALL.bias: thetas.strides[0], CALL.out: out.strides[0],
        CALL.x: own_x and X.strides[0],
    }  # fmt: skip

    plan = net._plan(n, at.OUTPUTS, False, type(X) is Csr)
    with bound_rows(plan, X) as rows:

        def arrays_of(i):
            return thetas[i], thetas[i], rows[i] if own_x else rows, out[i], None

        run_stack(plan, run_forward, np.empty(m), _flops(net, X), stride, arrays_of, threads)
    return out


def ensemble(net: MLP[D], thetas: ArrayOf[D], X: Rows, *, threads: int | None = None) -> NDArray[D]:
    """Outputs of the ensemble of a stack's networks: those that predict the mean of what they do.

    Parameters
    ----------
    net : MLP
    thetas : array (m, p)
        One network or more.
    X : array or sparse (n, d)
        0 rows are allowed.
    threads : int, optional
        The most threads of this call.

    Returns
    -------
    out : ndarray (n, k) of the network's dtype
        For a regression the mean of the outputs; logits of the mean of the probabilities for
        "logistic" and "cross_entropy"; logarithms of the mean of the rates for "poisson". A row's
        output has the same bits in any batch.

    Raises
    ------
    TypeError, ValueError
        As for `predict`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1], loss="logistic")
    >>> z = fg.stack.ensemble(net, np.array([[0.0, 0.0], [0.0, np.log(3.0)]]), np.ones((1, 1)))
    >>> 1 / (1 + np.exp(-z))                                 # the mean of 1/2 and 3/4
    array([[0.625]])
    """
    checked_network(net)
    thetas = stacked.parameters(thetas, net)
    if not len(thetas):
        raise ValueError("thetas has 0 networks; expected one or more")
    X = check.inputs(X, "X", net.dtype, net.n_inputs)
    out = np.empty((len(X), net.n_outputs), net.dtype)
    rows = max(64, ENSEMBLE_BYTES // (net.dtype.itemsize * len(thetas) * net.n_outputs))
    for start in range(0, len(X), rows):
        block = slice(start, start + rows)
        of_all = predict(net, thetas, X[block], threads=threads)
        out[block] = mean_outputs(of_all, net.spec.loss.link)
    return out


def _flops(net, X) -> int:
    """Of a forward pass, as if in float32."""
    (d, k), *others = pairwise(net.layer_sizes)
    entries = int(X.indptr[-1] - X.indptr[0]) if type(X) is Csr else X.shape[-2] * d
    products = entries * k + X.shape[-2] * sum(d * k for d, k in others)
    return 2 * products * net.dtype.itemsize // 4
