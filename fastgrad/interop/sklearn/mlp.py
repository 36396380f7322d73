"""What classifier and regressor share: checked data to a trained network and back."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ... import stack
from ..._core import check
from ...losses import get_loss
from ...metrics import inputs
from ...network import MLP
from ...training import fit as train
from . import ensemble, solvers
from .common import DTYPES, NOT_FINITE, finite, weights
from .held_out import hold_out
from .parameters import CONSTRAINTS, ActivationName, HiddenLayers, hidden_widths
from .watch import Watch

if TYPE_CHECKING:
    from typing_extensions import Self

    from ...typing import SparseRows

# scikit-learn's names to ours, and links to its names.
_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OUT_ACTIVATIONS = {"sigmoid": "logistic"}


class FastMLP(BaseEstimator):
    """A class has `_targets` (encode y), `_score_of` (early stopping) and `predict`."""

    if TYPE_CHECKING:
        n_features_in_: int
        feature_names_in_: NDArray[Any]
        n_layers_: int
        n_outputs_: int
        out_activation_: str
        n_iter_: int
        t_: int
        loss_: float
        best_loss_: float | None
        loss_curve_: list[float]
        validation_scores_: list[float] | None
        best_validation_score_: float | None
        estimators_: list[Any]

    _parameter_constraints = CONSTRAINTS
    _sparse = None  # the kind of matrix that predictions are, where labels were one
    _threads = _stop = None  # of a network of an ensemble: what bounds and ends its training
    n_networks = 1

    def __init__(
        self,
        hidden_layer_sizes: HiddenLayers = (100,),
        activation: ActivationName = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # what was learnt

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_theta")

    def _fitted(self):
        if not hasattr(self, "_theta"):
            raise AttributeError(f"{type(self).__name__} is not fitted; call fit first")
        if self._theta.ndim == 2:
            return ensemble.layers(self._net, self._theta)
        return self._net.unflatten(self._theta)

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """The weights (d, k) of each layer: views of one flat vector."""
        return [W for W, _ in self._fitted()]

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """The biases (k,) of each layer: views of one flat vector."""
        return [b for _, b in self._fitted()]

    def _outputs(self, X):
        check_is_fitted(self)
        X = validate_data(
            self, X, accept_sparse="csr", dtype=self._net.dtype, order="C", reset=False
        )
        return finite(self._forward(self._theta, X))

    def _forward(self, theta, X):
        """What the network, or the ensemble, says of checked X."""
        if theta.ndim == 2:
            return stack.ensemble(self._net, theta, X)
        return self._net.predict(theta, X)

    def _labels(self, y):
        """What the rows held out for early stopping have in proportion, or None."""

    # training

    def fit(
        self, X: ArrayLike | SparseRows, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on X (n, d) and y: (n,), or (n, k) for several outputs.

        Parameters
        ----------
        X : array-like or sparse (n, d)
        y : array-like (n,) or (n, k)
            For a classifier labels of any kind, or columns of 0 and 1.
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs solver 'adam' or 'sgd', not 'lbfgs'")
        return True

    @available_if(_stochastic)
    def partial_fit(
        self, X: ArrayLike | SparseRows, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One epoch over the given rows.

        Parameters
        ----------
        X : array-like or sparse (n, d)
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, classes: Any = None
    ) -> Self:
        hidden_widths(self)  # checks all parameters
        self._notes = []
        train = ensemble.fit if self.n_networks > 1 else FastMLP._fit_one
        try:
            train(self, X, y, sample_weight, incremental, classes)
        finally:
            notes = self.__dict__.pop("_notes")
        for message, category in dict.fromkeys(notes):
            warnings.warn(message, category, stacklevel=3)
        return self

    def _note(self, message: str, category) -> None:
        """A warning, once training has ended."""
        self._notes.append((message, category))

    def _interrupted(self) -> bool:
        """Whether Ctrl-C came, for a network of an ensemble."""
        return self._stop is not None and self._stop.is_set()

    def _fit_one(self, X, y, sample_weight, incremental: bool, classes):
        hidden = hidden_widths(self)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y, first = self._data(X, y, incremental)
        y, sample_weight, outputs, loss = self._targets(
            X, y, weights(sample_weight, X), first, classes, incremental
        )
        sizes = (X.shape[1], *hidden, outputs)
        if first:
            self._start_over()
        elif sizes != self._net.layer_sizes:
            raise ValueError(
                f"the layers are {sizes}, the fitted ones {self._net.layer_sizes}; "
                f"expected the same with warm_start and partial_fit"
            )
        self.n_outputs_, self.n_layers_ = outputs, len(sizes)
        row = get_loss(loss)
        self.out_activation_ = _OUT_ACTIVATIONS.get(row.link, row.link)
        # scikit-learn halves the squared error, and its gradient sums over outputs.
        self._loss_scale = 2.0 if row.squared else 1.0
        self._gradient_scale = self._loss_scale / (outputs if row.mean_over_outputs else 1)
        start = self._initial(sizes) if first else self._theta
        if self.solver == "lbfgs":
            solvers.fit_lbfgs(self, X, y, sample_weight, sizes, loss, start)
        else:
            self._fit_epochs(X, y, sample_weight, sizes, loss, start, incremental)

    def _data(self, X, y, incremental: bool):
        """(X, y, whether this is a first fit)."""
        first = not hasattr(self, "_theta") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, y_numeric=is_regressor(self),
            dtype=DTYPES if first else self._net.dtype, order="C", reset=first,
        )  # fmt: skip
        if first:
            self._sparse = None
            self.__dict__.pop("estimators_", None)
        elif len(getattr(self, "estimators_", [0])) != self.n_networks:
            raise ValueError(
                f"n_networks is {self.n_networks}, the fitted ones are "
                f"{len(getattr(self, 'estimators_', [0]))}; expected the same with warm_start and "
                f"partial_fit"
            )
        if issparse(y):
            y = self._dense(y, first)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y, first

    def _start_over(self):
        """Attributes of a first fit."""
        self._random_state = check_random_state(self.random_state)
        self.t_ = 0
        for name in ("_theta", "_optimizer", "loss_curve_", "validation_scores_"):
            self.__dict__.pop(name, None)

    def _new_tally(self):
        """Of the epochs of a first fit, or of a warm start after another solver or way to stop."""
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _network(self, sizes, loss, dtype, counted: float) -> MLP:
        """`counted`: the rows, or the sum of their weights, that `alpha` is divided by."""
        l2 = self._gradient_scale * self.alpha / counted
        check.held(l2, "alpha", dtype)
        activation = _ACTIVATIONS[self.activation]
        return MLP(sizes, loss, activation=activation, dtype=dtype, l2=l2, **self._parameters())

    def _parameters(self) -> dict:
        """Of the loss."""
        return {}

    def _offset(self, y, sample_weight) -> float:
        """What scikit-learn's loss has more than ours, for these targets."""
        return 0.0

    def _initial(self, sizes) -> np.ndarray:
        """Weights and biases uniform within sqrt(6 / (d + k)) (Glorot and Bengio, 2010), for
        "logistic" sqrt(2 / (d + k)), drawn as scikit-learn draws them: one `random_state` gives
        both the same start."""
        parts, factor = [], 2.0 if self.activation == "logistic" else 6.0
        for d, k in pairwise(sizes):
            bound = np.sqrt(factor / (d + k))
            parts += [self._random_state.uniform(-bound, bound, size) for size in (d * k, k)]
        return np.concatenate(parts)

    def _seed(self) -> int:
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _counted(self, X, sample_weight) -> float:
        """The rows, or the sum of their weights."""
        return X.shape[0] if sample_weight is None else float(sample_weight.sum(dtype=np.float64))

    def _objective(self, net, X, y, sample_weight):
        """A function of theta: the loss of a network of float64 on all rows, and its gradient."""
        X = inputs(X.astype(np.float64, copy=False), "X", net)  # checked once where it is sparse
        y = y.astype(np.float64, copy=False) if y.dtype.kind == "f" else y
        weight = None if sample_weight is None else sample_weight.astype(np.float64)
        return lambda theta: net.loss_and_grad(theta, X, y, weight, threads=self._threads)

    def _rows_of_a_batch(self, n: int) -> int:
        return min(200, n) if self.batch_size == "auto" else self.batch_size

    def _fit_epochs(self, X, y, sample_weight, sizes, loss, start, incremental):
        validation = None
        if self.early_stopping:
            X, y, sample_weight, validation = hold_out(
                X, y, sample_weight, self._labels(y), self.validation_fraction, self._random_state
            )
        n = X.shape[0]
        rows = self._rows_of_a_batch(n)
        if rows > n:
            self._note(
                f"batch_size is {rows}, the data have {n} rows: batches of {n} are taken",
                UserWarning,
            )
            rows = n
        mean = self._counted(X, sample_weight) / n
        self._net = self._network(sizes, loss, X.dtype, rows * mean)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = solvers.new_optimizer(self)
        stops_early = getattr(self, "validation_scores_", None) is not None
        if not hasattr(self, "loss_curve_") or stops_early != self.early_stopping:
            self._new_tally()
        self.n_iter_ = 0
        watch = Watch(self, n, validation, incremental, self._offset(y, sample_weight))
        start = start.astype(X.dtype)
        result = train(
            self._net, X, y, theta=start, optimizer=self._optimizer, batch_size=rows,
            epochs=1 if incremental else self.max_iter, sample_weight=sample_weight,
            seed=self._seed(), shuffle=self.shuffle, callbacks=watch, progress=False,
            threads=self._threads,
        )  # fmt: skip
        diverged = result.stopped == "not finite"
        if diverged and not self.early_stopping:
            raise ValueError(NOT_FINITE)
        if result.stopped == "interrupted" or self._interrupted():
            if self._stop is not None:
                self._stop.set()
            self._note("Training interrupted by user.", UserWarning)
        elif result.stopped == "epochs" and not incremental:
            self._note(
                f"{type(self).__name__}: {self.max_iter} epochs (max_iter) done and the training "
                f"has not converged yet",
                ConvergenceWarning,
            )
        self._optimizer = result.optimizer
        last = start if diverged else result.theta  # as scikit-learn keeps the best parameters
        self._theta = last if watch.best is None else watch.best
