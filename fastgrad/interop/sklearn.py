"""scikit-learn estimators: `ReLURegressor`, `FastMLPClassifier`, `FastMLPRegressor`.

The two networks take the parameters of scikit-learn's `MLPClassifier` and `MLPRegressor` and mean
the same by them: `alpha` is divided by the number of samples of a batch, the squared loss has a
1/2. Data are checked and converted at the door; epochs run in compiled code (`fastgrad.fit`).
"""

from __future__ import annotations

import warnings

import numpy as np

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError(
        'fastgrad.interop.sklearn needs scikit-learn: pip install "fastgrad[sklearn]"'
    ) from None

from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._core import check
from ..dense import affine_relu
from ..kernels.network import probabilities
from ..network import MLP
from ..neuron import neuron_loss_and_grad
from ..optimizers import Adam, Momentum, Nesterov
from ..schedules import as_schedule
from ..training import fit as train

__all__ = ["FastMLPClassifier", "FastMLPRegressor", "ReLURegressor"]

_DTYPES = (np.float64, np.float32)


def _choice(value, name: str, choices) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def _weights(sample_weight, X):
    """(n,) of X's dtype, or None."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    return check.weights(weights, "sample_weight", X.dtype, X.shape[0])


def _lbfgs(function, start, max_iter: int, max_fun: int, tol: float, owner: str, ftol=2e-9):
    """SciPy's L-BFGS-B; a ConvergenceWarning where it ends early."""
    result = minimize(
        function, start, jac=True, method="L-BFGS-B",
        options={"maxiter": max_iter, "maxfun": max_fun, "gtol": tol, "ftol": ftol},
    )  # fmt: skip
    if not np.isfinite(result.fun):
        raise ValueError(_NOT_FINITE)
    if not result.success:
        warnings.warn(
            f"{owner}: L-BFGS ended before it converged ({result.message}); increase max_iter or "
            f"scale the data",
            ConvergenceWarning,
            stacklevel=3,
        )
    return result


_NOT_FINITE = (
    "the loss is not finite: X or y may contain large values; scale them, or lower the "
    "learning rate"
)


class _Watch:
    """What happens after each epoch: curves, the best so far, when to stop, the learning rate."""

    def __init__(self, owner, scale: float, n: int, validation, incremental: bool):
        self.owner, self.scale, self.n = owner, scale, n
        self.validation, self.incremental = validation, incremental
        self.best = None

    def on_epoch(self, result):
        owner = self.owner
        loss = result.history.last()["loss"] / self.scale
        owner.n_iter_ += 1
        owner.t_ += self.n
        owner.loss_ = loss
        owner.loss_curve_.append(loss)
        if owner.verbose:
            print(f"Iteration {owner.n_iter_}, loss = {loss:.8f}")
        improved = self._scored(result) if self.validation else self._fallen(loss)
        owner._waited = 0 if improved else owner._waited + 1
        if owner.solver == "sgd" and owner.learning_rate == "invscaling":
            rate = owner.learning_rate_init / (owner.t_ + 1) ** owner.power_t
            result.optimizer.lr = as_schedule(rate / owner._gradient_scale)
        if self.incremental or owner._waited <= owner.n_iter_no_change:
            return False
        if owner.solver == "sgd" and owner.learning_rate == "adaptive":
            rate = result.optimizer.lr(0)
            if rate * owner._gradient_scale > 1e-6:
                result.optimizer.lr = as_schedule(rate / 5)
                owner._waited = 0
                return False
        if owner.verbose:
            what = "Validation score" if self.validation else "Training loss"
            print(
                f"{what} did not improve more than tol={owner.tol:f} for "
                f"{owner.n_iter_no_change} consecutive epochs. Stopping."
            )
        return True

    def _fallen(self, loss) -> bool:
        owner = self.owner
        improved = loss <= owner.best_loss_ - owner.tol
        owner.best_loss_ = min(loss, owner.best_loss_)
        return improved

    def _scored(self, result) -> bool:
        owner = self.owner
        X, y, weight = self.validation
        score = owner._score_of(owner._net.predict(result.theta, X), y, weight)
        owner.validation_scores_.append(score)
        if owner.verbose:
            print(f"Validation score: {score:f}")
        improved = score >= owner.best_validation_score_ + owner.tol
        if score > owner.best_validation_score_:
            owner.best_validation_score_ = score
            self.best = result.theta.copy()
        return improved


class _FastMLP(BaseEstimator):
    """What classifier and regressor share."""

    def __init__(
        self,
        hidden_layer_sizes,
        activation,
        solver,
        alpha,
        batch_size,
        learning_rate,
        learning_rate_init,
        power_t,
        max_iter,
        shuffle,
        random_state,
        tol,
        verbose,
        warm_start,
        momentum,
        nesterovs_momentum,
        early_stopping,
        validation_fraction,
        beta_1,
        beta_2,
        epsilon,
        n_iter_no_change,
        max_fun,
    ):
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

    # parameters

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_theta")

    def _fitted(self):
        if not hasattr(self, "_theta"):
            raise AttributeError(f"{type(self).__name__} is not fitted; call fit first")
        return self._net.unflatten(self._theta)

    @property
    def coefs_(self):
        """The weights (d, k) of each layer: views of one flat vector."""
        return [W for W, _ in self._fitted()]

    @property
    def intercepts_(self):
        """The biases (k,) of each layer: views of one flat vector."""
        return [b for _, b in self._fitted()]

    def _check_parameters(self):
        _choice(self.activation, "activation", ("relu",))
        _choice(self.solver, "solver", ("adam", "sgd", "lbfgs"))
        _choice(self.learning_rate, "learning_rate", ("constant", "invscaling", "adaptive"))
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            check.integer(self.batch_size, "batch_size")
        check.non_negative(self.alpha, "alpha")
        check.non_negative(self.tol, "tol")
        check.non_negative(self.power_t, "power_t")
        check.positive(self.learning_rate_init, "learning_rate_init")
        for name in ("max_iter", "n_iter_no_change", "max_fun"):
            value = getattr(self, name)
            if not (name == "n_iter_no_change" and value == np.inf):
                check.integer(value, name)
        if not 0 < check.scalar(self.validation_fraction, "validation_fraction") < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; expected between 0 and 1"
            )
        hidden = self.hidden_layer_sizes
        hidden = list(hidden) if np.iterable(hidden) else [hidden]
        return [check.integer(k, f"hidden_layer_sizes[{i}]") for i, k in enumerate(hidden)]

    def _new_optimizer(self):
        scale = self._gradient_scale
        if self.solver == "adam":
            return Adam(
                self.learning_rate_init, beta1=self.beta_1, beta2=self.beta_2,
                eps=self.epsilon * scale,
            )  # fmt: skip
        kind = Nesterov if self.nesterovs_momentum else Momentum
        return kind(self.learning_rate_init / scale, momentum=self.momentum)

    # training

    def _start_over(self):
        """Attributes of a first fit."""
        self._random_state = check_random_state(self.random_state)
        self.t_ = 0
        for name in ("_theta", "_optimizer", "loss_curve_", "validation_scores_"):
            self.__dict__.pop(name, None)
        if self.solver != "lbfgs":
            self.loss_curve_ = []
            self._waited = 0
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _fit(self, X, y, sample_weight, incremental: bool, classes=None):
        hidden = self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "_theta") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=isinstance(self, RegressorMixin),
            dtype=_DTYPES if first else self._net.dtype, order="C", reset=first,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        sample_weight = _weights(sample_weight, X)
        y, sample_weight, outputs, loss = self._targets(
            X, y, sample_weight, first, classes, incremental
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
        self.out_activation_ = {"logistic": "logistic", "cross_entropy": "softmax"}.get(
            loss, "identity"
        )
        # The squared loss is scikit-learn's gradient times 2 / k: it sums over outputs.
        self._gradient_scale = 2.0 / outputs if loss == "mse" else 1.0
        self._loss_scale = 2.0 if loss == "mse" else 1.0
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, y, sample_weight, sizes, loss, first)
        else:
            self._fit_epochs(X, y, sample_weight, sizes, loss, first, incremental)
        return self

    def _network(self, sizes, loss, dtype, counted: float) -> MLP:
        """`counted`: the rows, or the sum of their weights, that `alpha` is divided by."""
        return MLP(sizes, loss, dtype=dtype, l2=self._gradient_scale * self.alpha / counted)

    def _seed(self) -> int:
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _fit_lbfgs(self, X, y, sample_weight, sizes, loss, first):
        """In float64: a line search cannot live with float32's rounding of the loss."""
        dtype = X.dtype
        total = X.shape[0] if sample_weight is None else float(sample_weight.sum(dtype=np.float64))
        net = self._network(sizes, loss, np.float64, total)
        start = net.init(self._seed()) if first else self._theta.astype(np.float64)
        X = X.astype(np.float64, copy=False)
        y = y.astype(np.float64, copy=False) if y.dtype.kind == "f" else y
        weight = None if sample_weight is None else sample_weight.astype(np.float64)
        scale = self._gradient_scale

        def function(theta):
            value, grad = net.loss_and_grad(theta, X, y, weight)
            grad /= scale
            return value / scale, grad

        result = _lbfgs(function, start, self.max_iter, self.max_fun, self.tol, type(self).__name__)
        self.n_iter_ = min(int(result.nit), self.max_iter)
        self.loss_ = float(result.fun) * scale / self._loss_scale
        self._net = self._network(sizes, loss, dtype, total)
        self._theta = result.x.astype(dtype, copy=False)

    def _fit_epochs(self, X, y, sample_weight, sizes, loss, first, incremental):
        validation = None
        if self.early_stopping:
            X, y, sample_weight, validation = self._hold_out(X, y, sample_weight, loss)
        n = X.shape[0]
        rows = min(200, n) if self.batch_size == "auto" else self.batch_size
        if rows > n:
            warnings.warn(
                f"batch_size is {rows}, the data have {n} rows: batches of {n} are taken",
                UserWarning,
                stacklevel=4,
            )
            rows = n
        mean = 1.0 if sample_weight is None else float(sample_weight.mean(dtype=np.float64))
        self._net = self._network(sizes, loss, X.dtype, rows * mean)
        seed = self._seed()
        theta = self._net.init(seed) if first else self._theta
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
        self.n_iter_ = 0
        watch = _Watch(self, self._loss_scale, n, validation, incremental)
        result = train(
            self._net, X, y, theta=theta, optimizer=self._optimizer, batch_size=rows,
            epochs=1 if incremental else self.max_iter, sample_weight=sample_weight, seed=seed,
            shuffle=self.shuffle, callbacks=watch, progress=False,
        )  # fmt: skip
        if result.stopped == "not finite":
            raise ValueError(_NOT_FINITE)
        if result.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", UserWarning, stacklevel=4)
        elif result.stopped == "epochs" and not incremental:
            warnings.warn(
                f"{type(self).__name__}: {self.max_iter} epochs (max_iter) done and the training "
                f"has not converged yet",
                ConvergenceWarning,
                stacklevel=4,
            )
        self._optimizer = result.optimizer
        self._theta = result.theta if watch.best is None else watch.best

    def _hold_out(self, X, y, sample_weight, loss):
        """(X, y, weights to train on, (X, y, weights) to score)."""
        classes = isinstance(self, ClassifierMixin) and y.ndim == 1
        arrays = [X, y] + ([] if sample_weight is None else [sample_weight])
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction,
            stratify=y if classes else None,
        )  # fmt: skip
        if parts[1].shape[0] < 2:
            raise ValueError(
                f"the validation set has {parts[1].shape[0]} rows; expected 2 or more: increase "
                f"validation_fraction"
            )
        weights = parts[4:] or (None, None)
        return parts[0], parts[2], weights[0], (parts[1], parts[3], weights[1])

    def _stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs solver 'adam' or 'sgd', not 'lbfgs'")
        return True

    def _outputs(self, X, reset=False):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self._net.dtype, order="C", reset=False)
        return self._net.predict(self._theta, X)


_PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : {"relu"}
        There is no other; here so that the parameters of scikit-learn's estimator fit.
    solver : {"adam", "sgd", "lbfgs"}
        "lbfgs" takes all rows at once, in float64.
    alpha : float
        The squared weights times `alpha`/2, divided by the rows of a batch (or by the sum of their
        weights, for rows of mean weight), are added to the loss. Biases are not penalised.
    batch_size : int or "auto"
        "auto" is min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive"}
        Of "sgd": constant; `learning_rate_init` / (samples seen) ** `power_t`; or divided by 5
        whenever training would stop, down to 1e-6.
    learning_rate_init, power_t : float
    max_iter : int
        Epochs, or iterations of "lbfgs".
    shuffle : bool
        A new order of the rows each epoch.
    random_state : None, int or RandomState
    tol : float
        An epoch counts as better if the loss falls (or the validation score rises) by so much.
    verbose : bool
        Print the loss of each epoch.
    warm_start : bool
        `fit` goes on from the parameters of the last `fit`.
    momentum, nesterovs_momentum
        Of "sgd".
    early_stopping : bool
        Hold out `validation_fraction` of the rows, stop by their score, keep the best parameters.
    validation_fraction : float
    beta_1, beta_2, epsilon : float
        Of "adam".
    n_iter_no_change : int
        Stop after more than so many epochs without a better one.
    max_fun : int
        The most evaluations of "lbfgs"."""

_ATTRIBUTES = """
    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights (d, k) and biases (k,) of each layer, of the dtype of X.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.
    n_iter_, t_ : int
        Epochs of the last call; rows seen since the first.
    loss_, best_loss_ : float
    loss_curve_ : list of float
        The loss of each epoch (not with "lbfgs").
    validation_scores_, best_validation_score_
        With `early_stopping`."""


class FastMLPClassifier(ClassifierMixin, _FastMLP):
    __doc__ = f"""A network of ReLU layers that classifies: binary, multiclass or multilabel.

    With two classes one logit and the logistic loss; with more, softmax cross-entropy; a matrix of
    0 and 1 makes a logistic output for each column. All are means over samples.
    {_PARAMETERS}
    class_weight : None, dict or "balanced"
        Weights of the classes, multiplied into `sample_weight`.
    {_ATTRIBUTES}
    classes_ : ndarray
        The labels, sorted.

    Notes
    -----
    Parameters start by He's rule (`MLP.init`), not Glorot's. X of float32 makes a float32 network.

    Examples
    --------
    >>> import fastgrad as fg
    >>> from fastgrad.interop.sklearn import FastMLPClassifier
    >>> X_train, X_test, y_train, y_test = fg.datasets.split(fg.datasets.load_digits(), seed=0)
    >>> clf = FastMLPClassifier((32,), learning_rate_init=0.01, random_state=0)
    >>> clf = clf.fit(X_train / 16, y_train)
    >>> clf.score(X_test / 16, y_test) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        class_weight=None,
    ):
        super().__init__(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate,
            learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start,
            momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun,
        )  # fmt: skip
        self.class_weight = class_weight

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _targets(self, X, y, sample_weight, first, classes, incremental):
        """(encoded y, weights with class_weight, outputs, loss); sets or checks `classes_`."""
        check_classification_targets(y)
        many = type_of_target(y).startswith("multilabel")
        found = np.arange(y.shape[1]) if many else np.unique(y)
        if first:
            self.classes_ = found if classes is None else np.unique(classes)
            self._multilabel = many
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes is {classes!r}, not the same as before: {self.classes_!r}")
        if many != self._multilabel or not np.isin(found, self.classes_).all():
            raise ValueError(f"y has the classes {found}; expected among {self.classes_}")
        if self.classes_.size < 2 and not many:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; expected two classes or more")
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise ValueError(
                    "class_weight is 'balanced', which partial_fit cannot know; pass a dict"
                )
            extra = compute_sample_weight(self.class_weight, y).astype(X.dtype)
            sample_weight = extra if sample_weight is None else extra * sample_weight
        if many:
            return y.astype(X.dtype), sample_weight, y.shape[1], "logistic"
        codes = np.searchsorted(self.classes_, y)
        if self.classes_.size == 2:
            return codes.astype(X.dtype), sample_weight, 1, "logistic"
        return codes.astype(np.int64), sample_weight, self.classes_.size, "cross_entropy"

    def _codes(self, outputs):
        if self.out_activation_ == "softmax":
            return outputs.argmax(axis=1)
        codes = (outputs > 0).astype(np.int64)
        return codes if self._multilabel else codes[:, 0]

    def _score_of(self, outputs, y, weight):
        right = self._codes(outputs) == y
        return float(np.average(right.all(axis=1) if right.ndim == 2 else right, weights=weight))

    def fit(self, X, y, sample_weight=None):
        """Train on X (n, d) and labels y: (n,) of any kind, or (n, k) of 0 and 1.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(_FastMLP._stochastic)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over the given rows; the first call must name all `classes`.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, k)
        classes : array-like, optional
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        if classes is None and not hasattr(self, "_theta"):
            raise ValueError("classes must be passed on the first call to partial_fit")
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X):
        """The labels of the rows of X: (n,), or (n, k) of 0 and 1 for multilabel data."""
        codes = self._codes(self._outputs(X))
        return codes if self._multilabel else self.classes_[codes]

    def predict_log_proba(self, X):
        """The logarithms of `predict_proba`, finite where that rounds to 0."""
        z = self._outputs(X)
        if self.out_activation_ == "softmax":
            z = z - z.max(axis=1, keepdims=True)
            return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        of_one = -np.logaddexp(0, -z)
        return of_one if self._multilabel else np.hstack([-np.logaddexp(0, z), of_one])

    def predict_proba(self, X):
        """Probabilities (n, classes); for multilabel data of each column's 1, (n, k)."""
        z = self._outputs(X)
        if self.out_activation_ == "logistic" and not self._multilabel:
            z = np.hstack([-z, z])  # 1 - p would lose the small ones
        probabilities(z, self.out_activation_ == "softmax")
        return z


class FastMLPRegressor(RegressorMixin, _FastMLP):
    __doc__ = f"""A network of ReLU layers that predicts numbers, one or several a row.

    The loss is half the squared error: the mean over samples, its gradient the sum over outputs
    (as in scikit-learn); `loss_` shows the mean over both.
    {_PARAMETERS}
    {_ATTRIBUTES}

    Notes
    -----
    Parameters start by He's rule (`MLP.init`), not Glorot's. X of float32 makes a float32 network.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.interop.sklearn import FastMLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> reg = FastMLPRegressor((16, 16), solver="lbfgs", random_state=0).fit(X, np.abs(X[:, 0]))
    >>> reg.score(X, np.abs(X[:, 0])) > 0.99
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
    ):
        super().__init__(
            hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate,
            learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start,
            momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun,
        )  # fmt: skip

    def _targets(self, X, y, sample_weight, first, classes, incremental):
        y = np.ascontiguousarray(y, X.dtype)
        if first:
            self._one_column = y.ndim == 1
        elif self._one_column != (y.ndim == 1):
            raise ValueError(f"y has shape {y.shape}; expected {self.n_outputs_} columns as before")
        return y, sample_weight, 1 if y.ndim == 1 else y.shape[1], "mse"

    def _score_of(self, outputs, y, weight):
        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(y, outputs, sample_weight=weight))

    def fit(self, X, y, sample_weight=None):
        """Train on X (n, d) and y (n,) or (n, k).

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(_FastMLP._stochastic)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over the given rows.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Predictions (n,), or (n, k) where y had columns."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_column else outputs


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

    def __init__(self, alpha=0.0, *, max_iter=1000, tol=1e-8):
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Negative targets, half of scikit-learn's test problem, are out of a ReLU's reach.
        tags.regressor_tags.poor_score = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit w and b to X (n, d) and y (n,).

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        alpha = check.non_negative(self.alpha, "alpha")
        check.non_negative(self.tol, "tol")
        max_iter = check.integer(self.max_iter, "max_iter")
        X, y = validate_data(self, X, y, dtype=_DTYPES, order="C", y_numeric=True)
        sample_weight = _weights(sample_weight, X)
        dtype = X.dtype
        X, y = X.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
        weight = None if sample_weight is None else sample_weight.astype(np.float64)

        def function(theta):
            w, b = theta[:-1], float(theta[-1])
            loss, gw, gb = neuron_loss_and_grad(w, b, X, y, weight)
            return loss + 0.5 * alpha * float(w @ w), np.append(gw + alpha * w, gb)

        constant = np.zeros(X.shape[1] + 1)
        constant[-1] = np.average(np.maximum(y, 0), weights=weight)
        start = min(
            (constant, self._least_squares(X, y, weight)), key=lambda theta: function(theta)[0]
        )
        result = _lbfgs(function, start, max_iter, 20 * max_iter, self.tol, "ReLURegressor", 1e-13)
        self.coef_ = result.x[:-1].astype(dtype)
        self.intercept_ = float(result.x[-1])
        self.loss_ = float(result.fun)
        self.n_iter_ = max(1, int(result.nit))
        return self

    @staticmethod
    def _least_squares(X, y, weight):
        mean_x = np.average(X, axis=0, weights=weight)
        mean_y = np.average(y, weights=weight)
        root = np.ones(1) if weight is None else np.sqrt(weight)
        w = np.linalg.lstsq((X - mean_x) * root[:, None], (y - mean_y) * root, rcond=None)[0]
        return np.append(w, mean_y - mean_x @ w)

    def predict(self, X):
        """max(0, X @ w + b), (n,); a row's prediction has the same bits in any batch."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self.coef_.dtype, order="C", reset=False)
        return affine_relu(X, self.coef_, self.intercept_)[0]
