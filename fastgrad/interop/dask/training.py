"""Functions over Dask collections: `loss_and_grad`, and `fit` with fit's own optimisers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from ... import training
from ..._core import check
from ..._core.calls import checked_network
from ..._training.optimizer import Optimizer
from ..._training.sources import Elsewhere
from ..._training.stream import Stream
from ...network import MLP
from ...second_order import SecondOrder
from ...typing import D, Numbers, OptimizerName, PathLike, Seed
from .engines import engine
from .sums import DaskSource, PartedRows, gathered_rows


def loss_and_grad(
    net: MLP[D], theta: Numbers, X: Any, y: Any, sample_weight: Any = None, client: Any = None
) -> tuple[float, NDArray[D]]:
    """The loss and its gradient over partitions of the rows (formula 40).

    Each worker adds what its partitions give; sums are those of a binary tree over the partitions'
    numbers, in float64, so the same partitions give the same bits on any number of workers and
    threads, and without a cluster.

    Parameters
    ----------
    net : MLP
    theta : array (p,)
        Of the network's dtype.
    X : dask array (n, d), dask dataframe, or list
        Numbers of any dtype, converted to the network's. A partition is a block of rows, dense or
        of `scipy.sparse`, or an item of the list: an array, a `Delayed` or a `Future` of one.
        Chunk sizes need not be known; partitions without rows add nothing.
    y : dask array (n,) or (n, k), dask series or dataframe, or list
        In the partitions of X; as for `MLP.loss_and_grad`.
    sample_weight : the same, (n,), optional
        The largest of a partition is 2**-40 to 2**40, or all of them are 0.
    client : distributed.Client, optional
        None: the one that Dask would use; without any, Dask's own scheduler brings the rows into
        this process.

    Returns
    -------
    loss : float
    grad : ndarray (p,)
        Of the network's dtype; `l2` is added once.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; of rows the message names the partition.
    RuntimeError
        If a partition cannot be made.
    ConnectionError
        If the cluster went away, or has no workers for 30 seconds.

    Notes
    -----
    Data are brought together and checked at each call: for an optimiser of your own make a
    `PartedLoss` once.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> from fastgrad.interop.dask import loss_and_grad
    >>> net = fg.MLP([1, 1])
    >>> X, y = da.from_array([[1.0], [3.0]], chunks=(1, 1)), da.from_array([0.0, 9.0], chunks=1)
    >>> loss_and_grad(net, np.array([2.0, 1.0]), X, y)
    (6.5, array([-3.,  1.]))
    """
    return PartedLoss(net, X, y, sample_weight, client).loss_and_grad(theta)


class PartedLoss(Generic[D]):
    """The loss of a network over partitions that were checked once and stay where they are.

    Parameters
    ----------
    net, X, y, sample_weight, client
        As for `loss_and_grad`.

    Attributes
    ----------
    net : MLP
    size : int
        Rows.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> from fastgrad.interop.dask import PartedLoss
    >>> X, y = da.ones((10, 2), chunks=(5, 2)), da.zeros(10, chunks=5)
    >>> loss = PartedLoss(fg.MLP([2, 1]), X, y)
    >>> loss.loss(np.array([1.0, 2.0, 3.0]))
    36.0
    """

    net: MLP[D]
    size: int

    def __init__(
        self, net: MLP[D], X: Any, y: Any, sample_weight: Any = None, client: Any = None
    ) -> None:
        self.net = checked_network(net)
        at = engine(client)
        rows = PartedRows(net, at, gathered_rows(at, X, y, sample_weight))
        self.size, self._summed = rows.size, rows.summed()

    def loss(self, theta: Numbers) -> float:
        """The loss alone.

        Examples
        --------
        >>> import dask.array as da
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> from fastgrad.interop.dask import PartedLoss
        >>> loss = PartedLoss(fg.MLP([1, 1]), da.ones((4, 1)), da.zeros(4))
        >>> loss.loss(np.array([1.0, 1.0]))
        4.0
        """
        return self._summed.loss(self._theta(theta))

    def loss_and_grad(self, theta: Numbers) -> tuple[float, NDArray[D]]:
        """The loss and its gradient, as the function of that name.

        Examples
        --------
        >>> import dask.array as da
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> from fastgrad.interop.dask import PartedLoss
        >>> loss = PartedLoss(fg.MLP([1, 1]), da.ones((4, 1)), da.zeros(4))
        >>> loss.loss_and_grad(np.array([1.0, 1.0]))
        (4.0, array([4., 4.]))
        """
        loss, grad = self._summed.loss_and_grad(self._theta(theta))
        return loss, grad.astype(self.net.dtype, copy=False)

    def ggn_vp(self, theta: Numbers, v: Numbers) -> NDArray[np.float64]:
        """Gauss and Newton's matrix times v (p,), float64, as `fastgrad.curvature.ggn_vp`.

        Examples
        --------
        >>> import dask.array as da
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> from fastgrad.interop.dask import PartedLoss
        >>> loss = PartedLoss(fg.MLP([1, 1]), da.ones((4, 1)), da.zeros(4))
        >>> loss.ggn_vp(np.array([1.0, 1.0]), np.array([1.0, 0.0]))
        array([2., 2.])
        """
        net = self.net
        v = check.vector(v, "v", net.dtype, net.n_parameters)
        return self._summed.ggn_product(self._theta(theta), v)

    def _theta(self, theta) -> np.ndarray:
        net = self.net
        return check.vector(theta, "theta", net.dtype, net.n_parameters, ": one flat vector")


class _DaskRows(Elsewhere):
    """Dask collections in the place of X."""

    def __init__(self, X, y, sample_weight, client):
        self._given, self._client = (X, y, sample_weight), client

    def source(self, net, batch_size, shuffle):
        at = engine(self._client)
        return DaskSource(net, at, gathered_rows(at, *self._given), batch_size, shuffle)


class PreparedRows(Elsewhere):
    """Partitions that an estimator has brought together: it sets `shape`, `dtype` of the network,
    and `total` of the weights."""

    def __init__(self, at, rows):
        self.at, self.rows = at, rows

    def taken(self) -> list:
        """The rows, for the only one that needs them; they are held no longer here."""
        rows, self.rows = self.rows, None
        return rows

    def source(self, net, batch_size, shuffle):
        return DaskSource(net, self.at, self.taken(), batch_size, shuffle)


def fit(
    net: MLP[D],
    X: Any,
    y: Any,
    *,
    theta: Numbers | None = None,
    optimizer: Optimizer | SecondOrder | OptimizerName = "adam",
    epochs: int = 20,
    batch_size: int | None = None,
    sample_weight: Any = None,
    client: Any = None,
    validation: training.Batch | Stream | None = None,
    seed: Seed = None,
    shuffle: bool = True,
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks: training.Callback[D] | Iterable[training.Callback[D]] = (),
    progress: bool | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
) -> training.FitResult[D]:
    """`fastgrad.fit` over Dask collections: one task a worker and step, the same optimisers.

    Parameters
    ----------
    net : MLP
    X, y, sample_weight, client
        As for `loss_and_grad`. Partitions stay with the workers that have them; those of a worker
        that dies are made again, by the graph that X and y are, and the bits stay.
    batch_size : int, optional
        Rows of a step, which are an equal share of each partition; all rows unless given. Large
        ones pay: a step costs some milliseconds of scheduling.
    shuffle : bool
        Each epoch a new order of the rows of each partition, before shares are cut from it.
    validation : (X, y), (X, y, sample_weight) or Stream, optional
        Arrays or files, which are evaluated in this process.
    theta, optimizer, epochs, seed, patience, min_delta, callbacks, progress, checkpoint, \
checkpoint_every, resume
        As for `fastgrad.fit`. All optimisers are for it; "lbfgs", `NewtonCG` and
        `LevenbergMarquardt` take all rows at once.

    Returns
    -------
    result : FitResult

    Raises
    ------
    TypeError, ValueError, RuntimeError, ConnectionError
        As `loss_and_grad`; a checkpoint is then that of the last epoch.

    Examples
    --------
    >>> import dask.array as da
    >>> import fastgrad as fg
    >>> from fastgrad.interop import dask as fastgrad_dask
    >>> X = da.random.default_rng(0).random((1000, 3), chunks=(250, 3))
    >>> result = fastgrad_dask.fit(fg.MLP([3, 1]), X, X.sum(axis=1), optimizer="newtoncg", seed=0)
    >>> bool(result.history.loss[-1] < 1e-6)
    True
    """
    return training.fit(
        net, _DaskRows(X, y, sample_weight, client), theta=theta, optimizer=optimizer,
        epochs=epochs, batch_size=batch_size, validation=validation, seed=seed, shuffle=shuffle,
        patience=patience, min_delta=min_delta, callbacks=callbacks, progress=progress,
        checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume,
    )  # fmt: skip
