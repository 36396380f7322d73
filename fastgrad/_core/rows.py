"""What is of each row in a network's loss, from checked arrays into a step; and its fast path."""

from __future__ import annotations

import numpy as np

from ..kernels import records as at
from ..kernels.bind import run_rows
from .csr import Csr, bound_rows
from .plan import network_plan
from .run import run

_ndarray, _empty = np.ndarray, np.empty


def row_plan(net, n: int, want: int, weighted: bool, sparse: bool = False):
    """Of the data's loss alone, but for a gradient."""
    if net.l2 == 0 or want & at.GRADIENT:
        return net._plan(n, at.LOSS | want, weighted, sparse)
    return network_plan(net.spec.without_penalty(), n, at.LOSS | want, weighted, sparse)


def run_checked(net, want, checked, outputs, max_norm, threads) -> float:
    """`outputs`: the gradient, the norms, the rows' gradients; None for what is not wanted."""
    theta, X, y, s = checked
    if type(X) is Csr:
        X = X.without_duplicates()  # whose squares are not those of their sum
    plan = row_plan(net, len(X), want, s is not None, type(X) is Csr)
    with bound_rows(plan, X) as rows:
        return run(plan, run_rows, (theta, rows, y, s, *outputs, max_norm), threads)


def quick(net, want, theta, X, y, max_norm, out):
    """(loss, out) on the fast path; None where it is not open or does not take these arguments."""
    path = getattr(net, "_row_path", None)  # net is not checked yet
    if path is None or not type(theta) is type(X) is type(y) is _ndarray:
        return None
    if out is None:
        out = _empty(net.n_parameters if want & at.GRADIENT else X.shape[:1], net.dtype)
    elif type(out) is not _ndarray:
        return None
    loss = path.call((X.shape, want), theta, X, y, out, max_norm)
    return None if loss is None else (loss, out)


def open_quick(net, want, theta, X, y, max_norm, out) -> None:
    """For calls like this one, whose arrays have been checked; y (n k,) or (n,)."""
    given = [(theta, X, targets, out, float(max_norm)) for targets in net._forms(y)]
    net._row_path.open((X.shape, want), row_plan(net, len(X), want, False), *given)
