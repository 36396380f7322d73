"""`FastMLPRegressor`: one number a row, or several."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from . import poisson
from .mlp import FastMLP
from .parameters import ATTRIBUTES, NOTES, PARAMETERS, REGRESSOR, extended

_LOSSES = {"squared_error": "mse", "huber": "huber", "poisson": "poisson"}


class FastMLPRegressor(RegressorMixin, FastMLP):
    __doc__ = f"""A network of ReLU layers that predicts numbers, one or several a row.

    The loss is a mean over samples, its gradient the sum over outputs (as in scikit-learn); `loss_`
    shows the mean over both.
    {PARAMETERS}
    loss : {{"squared_error", "poisson", "huber"}}
        Half the squared error; half the Poisson deviance, where the exponentials of the outputs are
        what is predicted (y is 0 or more); half the squared error up to an error of 1, from there
        on linear. By keyword only.
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
    __init__ = extended(FastMLP.__init__, loss="squared_error")

    def _dense(self, y, first: bool):
        raise TypeError("y is a sparse matrix; expected a dense array: use y.toarray()")

    def _targets(self, X, y, sample_weight, first, classes, incremental):
        y = np.ascontiguousarray(y, X.dtype)
        if self.loss == "poisson":
            poisson.check_targets(y)
        if first:
            self._one_column = y.ndim == 1
        elif self._one_column != (y.ndim == 1):
            raise ValueError(f"y has shape {y.shape}; expected {self.n_outputs_} columns as before")
        return y, sample_weight, 1 if y.ndim == 1 else y.shape[1], _LOSSES[self.loss]

    def _score_of(self, outputs, y, weight):
        if not np.isfinite(outputs).all():
            return float("nan")
        with np.errstate(over="ignore", invalid="ignore"):  # minus infinity or NaN is a score too
            return float(r2_score(y, outputs, sample_weight=weight))

    def predict(self, X):
        """Predictions (n,), or (n, k) where y had columns."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_column else outputs

    def _forward(self, theta, X):
        outputs = super()._forward(theta, X)
        if self.out_activation_ != "exp":
            return outputs
        with np.errstate(over="ignore"):
            return np.exp(outputs, out=outputs)
