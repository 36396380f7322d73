"""Dask: losses, gradients and training over the partitions of a cluster.

`loss_and_grad` and `PartedLoss` for optimisers of your own, `fit` for ours, `DaskMLPClassifier` and
`DaskMLPRegressor` with the conventions of LightGBM's estimators. Dask is the engine: it places the
partitions, and makes them again where a worker is lost. Ours is what a worker does of a step, in
one task, and the order of the sums, which is that of the partitions: the same bits on any number of
workers.
"""

try:
    import dask  # noqa: F401
    import distributed  # noqa: F401
except ImportError:
    raise ImportError('fastgrad.interop.dask needs Dask: pip install "fastgrad[dask]"') from None

from ..._core.names import list_public
from .estimators import DaskMLPClassifier, DaskMLPRegressor
from .training import PartedLoss, fit, loss_and_grad

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor", "PartedLoss", "fit", "loss_and_grad"]
list_public(globals())
