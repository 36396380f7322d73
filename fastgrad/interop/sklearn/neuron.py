"""`ReLURegressor`: one neuron."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, lsqr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ...dense import affine_relu
from ...network import MLP
from ...neuron import neuron_loss_and_grad
from .common import DTYPES, finite, lbfgs, weights
from .parameters import NEURON

if TYPE_CHECKING:
    from typing_extensions import Self

    from ...typing import SparseRows


class ReLURegressor(RegressorMixin, BaseEstimator):
    """One neuron: y is predicted by max(0, X @ w + b), fitted by L-BFGS on formulas 18 to 20.

    The loss is the mean over samples of the squared error, no 1/2, plus `alpha`/2 times the sum of
    squared weights; with `sample_weight` s the mean is sum(s * loss) / sum(s).

    Parameters
    ----------
    alpha : float
        Strength of the penalty; the intercept is not penalised.
    max_iter : int
        The most iterations.
    tol : float
        L-BFGS stops where no entry of the projected gradient is larger.

    Attributes
    ----------
    coef_ : ndarray (d,)
    intercept_ : float
    loss_ : float
    n_iter_ : int
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    The loss is not convex: the fit starts from least squares or from a constant, whichever has the
    lower loss, so it is deterministic. Predictions are never negative: targets that are belong to
    another model.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.interop.sklearn import ReLURegressor
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> neuron = ReLURegressor().fit(X, np.maximum(0, 3 * X[:, 0] - 1))
    >>> neuron.coef_.round(3), round(neuron.intercept_, 3)
    (array([3.]), -1.0)
    """

    _parameter_constraints = NEURON

    if TYPE_CHECKING:
        coef_: NDArray[Any]
        intercept_: float
        loss_: float
        n_iter_: int
        n_features_in_: int
        feature_names_in_: NDArray[Any]

    def __init__(self, alpha: float = 0.0, *, max_iter: int = 1000, tol: float = 1e-8) -> None:
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Negative targets, half of scikit-learn's test problem, are out of a ReLU's reach.
        tags.regressor_tags.poor_score = True
        tags.input_tags.sparse = True
        return tags

    def fit(
        self, X: ArrayLike | SparseRows, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit w and b to X (n, d) and y (n,).

        Parameters
        ----------
        X : array-like or sparse (n, d)
        y : array-like (n,)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        alpha, max_iter = float(self.alpha), int(self.max_iter)
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=DTYPES, order="C", y_numeric=True
        )
        sample_weight = weights(sample_weight, X)
        dtype = X.dtype
        X, y = X.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
        weight = None if sample_weight is None else sample_weight.astype(np.float64)

        if issparse(X):
            net = MLP([X.shape[1], 1], output_activation="relu", l2=alpha)

            def function(theta):
                return net.loss_and_grad(theta, X, y, weight)

        else:

            def function(theta):
                w, b = theta[:-1], float(theta[-1])
                loss, gw, gb = neuron_loss_and_grad(w, b, X, y, weight)
                return loss + 0.5 * alpha * float(w @ w), np.append(gw + alpha * w, gb)

        constant = np.zeros(X.shape[1] + 1)
        constant[-1] = np.average(np.maximum(y, 0), weights=weight)
        start = min(
            (constant, self._least_squares(X, y, weight)), key=lambda theta: function(theta)[0]
        )
        note = partial(warnings.warn, stacklevel=3)
        result = lbfgs(function, start, self, max_iter, 20 * max_iter, 1e-13, note)
        self.coef_ = result.x[:-1].astype(dtype)
        self.intercept_ = float(result.x[-1])
        self.loss_ = float(result.fun)
        self.n_iter_ = max(1, int(result.nit))
        return self

    @staticmethod
    def _least_squares(X, y, weight):
        mean_y = np.average(y, weights=weight)
        if issparse(X):
            return ReLURegressor._sparse_least_squares(X, y, mean_y, weight)
        mean_x = np.average(X, axis=0, weights=weight)
        root = np.ones(1) if weight is None else np.sqrt(weight)
        w = np.linalg.lstsq((X - mean_x) * root[:, None], (y - mean_y) * root, rcond=None)[0]
        return np.append(w, mean_y - mean_x @ w)

    @staticmethod
    def _sparse_least_squares(X, y, mean_y, weight):
        """By LSQR, which centres X without making it dense."""
        share = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        mean_x, root = X.T @ share, np.sqrt(share)
        centred = LinearOperator(
            X.shape,
            matvec=lambda w: root * (X @ w.ravel() - mean_x @ w.ravel()),
            rmatvec=lambda r: X.T @ (root * r.ravel()) - mean_x * (root @ r.ravel()),
        )
        w = lsqr(centred, (y - mean_y) * root, atol=1e-12, btol=1e-12)[0]
        return np.append(w, mean_y - mean_x @ w)

    def predict(self, X: ArrayLike | SparseRows) -> NDArray[Any]:
        """max(0, X @ w + b), (n,); a row's prediction has the same bits in any batch."""
        check_is_fitted(self)
        X = validate_data(
            self, X, accept_sparse="csr", dtype=self.coef_.dtype, order="C", reset=False
        )
        if issparse(X):
            net = MLP([X.shape[1], 1], output_activation="relu", dtype=self.coef_.dtype)
            theta = np.append(self.coef_, self.coef_.dtype.type(self.intercept_))
            return finite(net.predict(theta, X)[:, 0])
        return finite(affine_relu(X, self.coef_, self.intercept_)[0])
