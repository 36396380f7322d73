"""How good a network is on data: its loss, and accuracy or R^2, block by block of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import checked_network
from ._core.csr import Csr
from ._core.names import list_public
from .network import MLP
from .typing import Numbers, SparseRows

__all__ = ["Scores", "evaluate", "score_name"]
list_public(globals())

BLOCK_BYTES = 4 * 2**20  # inputs and outputs of the rows that are evaluated at a time
# Below so many multiplications (1 ms) one thread does it: little to gain, and beside busy processes
# a launch can be slow.
SERIAL_PRODUCTS = 2e7


class Scores(NamedTuple):
    """What `evaluate` returns.

    Attributes
    ----------
    loss : float
        As `MLP.loss`, l2 included.
    score : float
        Accuracy for "cross_entropy" and "logistic", R^2 for the losses of a regression (of the
        rates, for "poisson"); NaN where an output or a target is NaN, and R^2 of a single row.

    Examples
    --------
    >>> Scores(0.25, 1.0).score
    1.0
    """

    loss: float
    score: float


def score_name(net: MLP[Any]) -> str:
    """What `Scores.score` is for this network: "accuracy" or "r2"."""
    return net.spec.loss.score


def evaluate(
    net: MLP[Any],
    theta: Numbers,
    X: Numbers | SparseRows,
    y: Numbers,
    sample_weight: Numbers | None = None,
    *,
    threads: int | None = None,
) -> Scores:
    """Loss and accuracy (or R^2) in bounded memory.

    Parameters
    ----------
    net : MLP
    theta : array (p,) or (m, p)
        Of the network; or of an ensemble, whose outputs (`fastgrad.stack.ensemble`) are scored:
        its loss has no l2.
    X : array (n, d)
        Numbers of any dtype, converted to the network's a block at a time; may be a memory map, or
        sparse (`scipy.sparse`, CSR without a copy).
    y : array
        As for `MLP.loss_and_grad`.
    sample_weight : array (n,), optional
    threads : int, optional

    Returns
    -------
    scores : Scores
        Accuracy is the weighted share of right labels (over all entries for several logistic
        outputs); R^2 is 1 - sum of squares left / sum of squares about the mean, averaged over
        outputs (for a constant output: 1 if it is met exactly, else 0); NaN of a single row, which
        has no mean to be compared with.

    Raises
    ------
    TypeError, ValueError
        If a shape or a label does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([1, 1])
    >>> fg.evaluate(net, np.array([1.0, 0.0]), [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    Scores(loss=0.0, score=1.0)
    """
    checked_network(net)
    X = inputs(X, "X", net)
    y, sample_weight = targets(net, X.shape[0], y, sample_weight)
    return evaluate_checked(net, theta, X, y, sample_weight, threads)


def inputs(X: Any, name: str, net: MLP[Any]) -> Any:
    """(n, d) of the network's dtype; a memory map stays one, whatever its dtype; what is sparse
    becomes CSR."""
    if check.is_sparse(X):
        X = check.sparse_rows(X, name, net.dtype, net.n_inputs, convert=True)
        return check.inputs(X, name, net.dtype, net.n_inputs, True)
    if isinstance(X, np.memmap) and X.dtype.kind in "biuf":
        if X.ndim != 2 or X.shape[1] != net.n_inputs or not X.shape[0]:
            raise ValueError(
                f"{name} has shape {X.shape}; expected (n, {net.n_inputs}) with rows: "
                f"{net.n_inputs} columns, one for each input"
            )
        if X.dtype != net.dtype or not X.flags.c_contiguous:
            return X
    return check.matrix(_converted(X, name, net.dtype), name, net.dtype, net.n_inputs, True)


def targets(
    net: MLP[Any], n: int, y: Any, sample_weight: Any, prefix: str = "", scaled: bool = True
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """y, and weights or None, as the kernels take them.

    `scaled`: nothing but the ratios of these weights will count.
    """
    if not net.spec.loss.labelled:
        y = _converted(y, f"{prefix}y", net.dtype)
    y = net.spec.loss.targets(y, f"{prefix}y", net.dtype, n, net.n_outputs)
    if sample_weight is not None:
        name = f"{prefix}sample_weight"
        kind, checked = (check.F64, check.scaled_weights) if scaled else (net.dtype, check.weights)
        sample_weight = checked(_converted(sample_weight, name, kind), name, net.dtype, n)
    return y, sample_weight


def rows_of(X: Any, dtype: Any) -> Any:
    """Checked rows as a kernel takes them."""
    return X if type(X) is Csr else np.ascontiguousarray(X, dtype)


def _converted(value, name: str, dtype):
    array = check.as_array(value, name)
    if array.dtype.kind in "biuf" and array.dtype != dtype:
        array = array.astype(dtype)
    return array


def evaluate_checked(
    net: MLP[Any], theta: Any, X: Any, y: Any, sample_weight: Any = None,
    threads: int | None = None,
) -> Scores:  # fmt: skip
    with np.errstate(
        under="ignore", over="ignore", invalid="ignore"
    ):  # NaN and infinity show in the scores
        if np.ndim(theta) == 2:
            net, theta, X = _of_outputs(net, theta, X, threads)
        return _scores(net, theta, X, y, sample_weight, threads)


def _of_outputs(net, thetas, X, threads):
    """(net, theta, X) that have an ensemble's outputs: one layer, which passes them on."""
    from . import stack

    n, k = X.shape[0], net.n_outputs
    Z = np.empty((n, k), net.dtype)
    rows = max(256, BLOCK_BYTES // (net.dtype.itemsize * net.n_inputs))
    for start in range(0, n, rows):
        x = rows_of(X[start : start + rows], net.dtype)
        Z[start : start + rows] = stack.ensemble(net, thetas, x, threads=threads)
    settings = {**net.spec.settings(), "layer_sizes": [k, k], "l2": 0.0}
    layer = MLP(**{**settings, "output_activation": "identity"})
    return layer, layer.flatten([(np.eye(k, dtype=net.dtype), np.zeros(k, net.dtype))]), Z


def _scores(net, theta, X, y, sample_weight, threads) -> Scores:
    n, d = X.shape
    if threads is None:
        threads = 1 if n * net.n_parameters < SERIAL_PRODUCTS else None
    row = net.n_outputs + ((X.indptr[-1] - X.indptr[0]) // n if type(X) is Csr else d)
    rows = int(max(256, BLOCK_BYTES // (net.dtype.itemsize * row)))
    loss = net.spec.loss
    counted = loss.score == "accuracy"
    y = y.reshape(n, -1)
    blocks = [slice(start, min(n, start + rows)) for start in range(0, n, rows)]
    losses, weights, right = [], [], 0.0
    left = np.zeros(y.shape[1])
    for block in blocks:
        x = rows_of(X[block], net.dtype)
        target = y[block]
        s = None if sample_weight is None else sample_weight[block]
        share = x.shape[0] if s is None else float(s.sum(dtype=np.float64))
        if not share:
            continue
        flat = target[:, 0] if loss.labelled else target
        near = None if s is None else check.near_one(s)  # a block's may all be very small
        losses.append(share * net.loss(theta, x, flat, near, threads=threads))
        weights.append(share)
        out = net.predict(theta, x, threads=threads)
        if not counted:
            left += _sum(np.square(loss.values(out) - target, dtype=np.float64), s)
        elif loss.labelled:
            right += _sum(_known(out.argmax(axis=1) == flat, out), s)
        else:
            hits = ((out > 0) == (target > 0.5)).mean(axis=1)
            right += _sum(_known(hits, out, target), s)
    weight = float(np.sum(weights))
    mean_loss = float(np.sum(losses)) / weight  # in pairs
    if counted:
        return Scores(mean_loss, float(right) / weight)
    mean = sum(_sum(y[block], _part(sample_weight, block)) for block in blocks) / weight
    about = sum(
        _sum(np.square(y[block] - mean, dtype=np.float64), _part(sample_weight, block))
        for block in blocks
    )
    single = (n if sample_weight is None else np.count_nonzero(sample_weight)) < 2
    return Scores(mean_loss, np.nan if single else _r2(left, about))


def _known(hits, *arrays):
    """`hits` by rows, but NaN where a row of an array has one: no comparison is right with NaN."""
    for array in arrays:
        unknown = np.isnan(array)
        if unknown.any():
            hits = np.where(unknown.any(axis=1), np.nan, hits)
    return hits


def _part(sample_weight, block):
    return None if sample_weight is None else sample_weight[block]


def _sum(values, sample_weight):
    """Over rows, in float64, weighted where there are weights; rows of weight 0 do not count."""
    if sample_weight is None:
        return values.sum(axis=0, dtype=np.float64)
    counts = sample_weight != 0
    return sample_weight[counts].astype(np.float64) @ values[counts]


def _r2(left, about) -> float:
    with np.errstate(under="ignore", divide="ignore"):
        score = 1.0 - left / about
    constant = about == 0
    score[constant] = np.where(np.isnan(left[constant]), np.nan, left[constant] == 0)
    return float(score.mean())
