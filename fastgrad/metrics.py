"""How good a network is on data: its loss, and accuracy or R^2, block by block of rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._core import check
from ._core.calls import checked_network
from ._core.names import list_public
from ._training.tally import Scores, Tally, alone
from .network import MLP
from .typing import Numbers, SparseRows

if TYPE_CHECKING:
    from ._training.stream import Stream

__all__ = ["Scores", "evaluate", "score_name"]
list_public(globals())


def score_name(net: MLP[Any]) -> str:
    """What `Scores.score` is for this network: "accuracy" or "r2"."""
    return net.spec.loss.score


def evaluate(
    net: MLP[Any],
    theta: Numbers,
    X: Numbers | SparseRows | Stream,
    y: Numbers | None = None,
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
        sparse (`scipy.sparse`, CSR without a copy). Or a `Stream` of files (`fastgrad.stream`),
        which has its targets and weights.
    y : array
        As for `MLP.loss_and_grad`; not beside a stream.
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
    return tallied(net, theta, X, y, sample_weight, threads).scores()


def tallied(net, theta, X, y=None, sample_weight=None, threads=None) -> Tally:
    """The rows that `evaluate` is given, checked and scored."""
    checked_network(net)
    tally = Tally(net)
    if is_stream(X):
        if y is not None or sample_weight is not None:
            raise TypeError("y or sample_weight beside a stream, which has its own; expected none")
        tally.add_stream(theta, X, threads)
        return tally
    if y is None:
        raise TypeError("y is missing; expected evaluate(net, theta, X, y), or a stream as X")
    X = inputs(X, "X", net)
    tally.add(theta, X, *targets(net, X.shape[0], y, sample_weight), threads)
    return tally


def is_stream(X: object) -> bool:
    """Whether X is a `Stream`, without importing what only streams need."""
    streams = sys.modules.get("fastgrad._training.stream")
    return streams is not None and isinstance(X, streams.Stream)


def evaluate_stream(net, theta, stream, threads=None, total=alone) -> Scores:
    """As `evaluate`, of a stream's rows block by block; `total` as in `evaluate_checked`."""
    return Tally(net).scores(total, lambda tally: tally.add_stream(theta, stream, threads))


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


def _converted(value, name: str, dtype):
    if is_stream(value):
        raise check.is_a_stream(name)
    array = check.as_array(value, name)
    if array.dtype.kind in "biuf" and array.dtype != dtype:
        array = array.astype(dtype)
    return array


def evaluate_checked(
    net: MLP[Any], theta: Any, X: Any, y: Any, sample_weight: Any = None,
    threads: int | None = None, total: Any = alone,
) -> Scores:  # fmt: skip
    """`total(size, make)`: the sum of make(), float64 numbers, over all places that have rows."""
    return Tally(net).scores(total, lambda tally: tally.add(theta, X, y, sample_weight, threads))
