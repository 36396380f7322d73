"""Arguments of a stack of networks: one array for all of them, or one for each.

Each function returns the checked array and whether its first axis is the networks; the errors name
a network's part as ``y[3]``.
"""

from __future__ import annotations

import numpy as np

from ..kernels import validate
from . import check


def parameters(thetas, net, name: str = "thetas") -> np.ndarray:
    """(m, p)."""
    array = check.float_array(thetas, name, net.dtype)
    if array.ndim != 2 or array.shape[1] != net.n_parameters:
        hint = f" (one network is {name}[None, :])" if array.ndim == 1 else ""
        raise ValueError(
            f"{name} has shape {array.shape}; expected (m, {net.n_parameters}): a row of "
            f"parameters for each network{hint}"
        )
    return array


def inputs(X, net, m: int, nonempty: bool) -> tuple[np.ndarray, bool]:
    """(n, d), which may be sparse, or (m, n, d)."""
    if check.is_sparse(X):
        return check.inputs(X, "X", net.dtype, net.n_inputs, nonempty), False
    array, d = check.float_array(X, "X", net.dtype), net.n_inputs
    if array.ndim != 3:
        if array.ndim == 2:
            return check.matrix(array, "X", net.dtype, d, nonempty), False
        raise ValueError(f"X has shape {array.shape}; expected (n, {d}) or ({m}, n, {d})")
    _networks(array, "X", m)
    if array.shape[2] != d:
        raise ValueError(
            f"X has shape {array.shape}; expected ({m}, n, {d}): {d} columns, one for each input"
        )
    if nonempty and array.shape[1] == 0:
        raise ValueError("X has 0 rows; the loss is a mean over rows and needs at least one")
    return array, True


def targets(y, net, m: int, n: int) -> tuple[np.ndarray, bool]:
    """As `MLP.loss_and_grad` takes them, or with the networks before the rows; as one long row
    (a network)."""
    loss, k, array = net.spec.loss, net.n_outputs, check.as_array(y, "y")
    if not _is_own(array, loss.labelled, m, n, k):
        return loss.targets(y, "y", net.dtype, n, k).reshape(-1), False
    _networks(array, "y", m)
    if array.shape[1] != n:
        raise ValueError(f"y has {array.shape[1]} rows a network, X has {n}")

    def checked(values, name, rows):
        return loss.targets(values, name, net.dtype, rows, k)

    try:
        array = checked(array.reshape(m * n, *array.shape[2:]), "y", m * n)
    except ValueError:
        for i, part in enumerate(array):
            checked(part, f"y[{i}]", n)
        raise
    return array.reshape(m, n * (1 if loss.labelled else k)), True


def _is_own(array, labelled: bool, m: int, n: int, k: int) -> bool:
    if labelled:  # one-hot rows for all networks have an error of their own
        return array.ndim == 2 and (array.shape != (n, k) or (n, k) == (m, n))
    if array.ndim != 2 or k != 1:
        return array.ndim == 3
    return array.shape != (n, 1) and (array.shape[1] != 1 or n == 1)


def weights(sample_weight, net, m: int, n: int) -> tuple[np.ndarray | None, bool]:
    """(n,), or (m, n)."""
    name = "sample_weight"
    if sample_weight is None:
        return None, False
    array = check.float_array(sample_weight, name, net.dtype)
    if array.ndim != 2:
        return check.weights(array, name, net.dtype, n), False
    _networks(array, name, m)
    if array.shape[1] != n:
        raise ValueError(f"{name} has {array.shape[1]} rows a network, X has {n}")
    least, most = validate.weight_bounds(array.itemsize)
    totals = array.sum(axis=1, dtype=np.float64)
    negative = validate.first_outside(array, 0.0, np.inf) >= 0
    if negative or not ((totals > 2 * least) & (totals < most / 2)).all():
        for i, part in enumerate(array):
            check.weights(part, f"{name}[{i}]", net.dtype, n)
    return array, True


def _networks(array, name: str, m: int) -> None:
    if array.shape[0] != m:
        raise ValueError(
            f"{name} has shape {array.shape}, so it is of {array.shape[0]} networks; thetas has {m}"
        )
