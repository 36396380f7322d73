"""`FastMLPRegressor`: one number a row, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from ...losses import get_loss
from .mlp import FastMLP
from .parameters import (
    ATTRIBUTES,
    NOTES,
    PARAMETERS,
    REGRESSOR,
    ActivationName,
    HiddenLayers,
    Keywords,
    extended,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...typing import SparseRows

_LOSSES = {"squared_error": "mse"}  # the others have our names


class FastMLPRegressor(RegressorMixin, FastMLP):
    __doc__ = f"""A network of layers that predicts numbers, one or several a row.

    The loss is a mean over samples, its gradient the sum over outputs (as in scikit-learn); `loss_`
    shows the mean over both.
    {PARAMETERS}
    loss : {{"squared_error", "absolute_error", "huber", "quantile", "poisson"}}
        Half the squared error; the absolute error; half the squared error up to an error of 1, from
        there on linear; the absolute error times `quantile` below y and 1 - `quantile` above; half
        the Poisson deviance, where the exponentials of the outputs are what is predicted (y is 0 or
        more). By keyword only.
    quantile : float
        Of that loss, between 0 and 1. By keyword only.
    {ATTRIBUTES}
    {NOTES}
    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.interop.sklearn import FastMLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> reg = FastMLPRegressor((16, 16), solver="lbfgs", random_state=0).fit(X, np.abs(X[:, 0]))
    >>> reg.score(X, np.abs(X[:, 0])) > 0.99
    True
    """

    _parameter_constraints = REGRESSOR
    if TYPE_CHECKING:

        def __init__(
            self,
            hidden_layer_sizes: HiddenLayers = ...,
            activation: ActivationName = ...,
            *,
            loss: Literal["squared_error", "absolute_error", "huber", "quantile", "poisson"] = ...,
            quantile: float = ...,
            **options: Unpack[Keywords],
        ) -> None: ...
    else:
        __init__ = extended(FastMLP.__init__, loss="squared_error", quantile=0.5, n_networks=1)

    def _dense(self, y, first: bool):
        raise TypeError("y is a sparse matrix; expected a dense array: use y.toarray()")

    def _targets(self, X, y, sample_weight, first, classes, incremental):
        y = np.ascontiguousarray(y, X.dtype)
        loss = self._row()
        low = y < loss.least_target
        if low.any():
            row = int(np.argmax(low.reshape(len(y), -1).any(axis=1)))
            raise ValueError(
                f"y has the value {y[low][0]} at row {row}; expected 0 or more for the loss "
                f"{self.loss!r}"
            )
        if first:
            self._one_column = y.ndim == 1
        elif self._one_column != (y.ndim == 1):
            raise ValueError(f"y has shape {y.shape}; expected {self.n_outputs_} columns as before")
        return y, sample_weight, 1 if y.ndim == 1 else y.shape[1], loss.name

    def _row(self):
        """Our loss by scikit-learn's name."""
        return get_loss(_LOSSES.get(self.loss, self.loss))

    def _score_of(self, outputs, y, weight):
        if not np.isfinite(outputs).all():
            return float("nan")
        with np.errstate(
            under="ignore", over="ignore", invalid="ignore"
        ):  # minus infinity or NaN is a score too
            return float(r2_score(y, outputs, sample_weight=weight))

    def predict(self, X: ArrayLike | SparseRows) -> NDArray[Any]:
        """Predictions (n,), or (n, k) where y had columns."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_column else outputs

    def _forward(self, theta, X):
        outputs = super()._forward(theta, X)
        with np.errstate(under="ignore", over="ignore"):  # infinity is an error, or a score
            return self._net.spec.loss.values(outputs).astype(outputs.dtype, copy=False)

    def _parameters(self):
        return {"quantile": self.quantile}

    def _offset(self, y, sample_weight):
        """Of half the deviance, sum over outputs of y ln(y / exp z) - y + exp z, what z is not in:
        y ln y - y."""
        if self._row().link != "exp":
            return 0.0
        y = y.astype(np.float64, copy=False).reshape(len(y), -1)
        return float(np.average((xlogy(y, y) - y).sum(axis=1), weights=sample_weight))
