"""The parameters of the networks: what they may be, what they mean, how a class adds one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from ..._core import check

HiddenLayers: TypeAlias = int | Sequence[int]
ActivationName: TypeAlias = Literal["identity", "logistic", "tanh", "relu"]


class Keywords(TypedDict, total=False):
    """What both networks take by keyword."""

    solver: Literal["adam", "sgd", "lbfgs"]
    alpha: float
    batch_size: int | Literal["auto"]
    learning_rate: Literal["constant", "invscaling", "adaptive"]
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: int | np.random.RandomState | None
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    n_networks: int


_COUNT = Interval(Integral, 1, None, closed="left")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_BELOW_ONE = Interval(Real, 0, 1, closed="left")

CONSTRAINTS = {
    "hidden_layer_sizes": ["array-like", _COUNT],
    "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [_NOT_NEGATIVE],
    "batch_size": [StrOptions({"auto"}), _COUNT],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [_POSITIVE],
    "power_t": [_NOT_NEGATIVE],
    "max_iter": [_COUNT],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_NOT_NEGATIVE],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [_BELOW_ONE],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "beta_1": [_BELOW_ONE],
    "beta_2": [_BELOW_ONE],
    "epsilon": [_POSITIVE],
    "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
    "max_fun": [_COUNT],
    "n_networks": [_COUNT],
}
CLASSIFIER = {**CONSTRAINTS, "class_weight": [dict, StrOptions({"balanced"}), None]}
REGRESSOR = {
    **CONSTRAINTS,
    "loss": [StrOptions({"squared_error", "absolute_error", "huber", "quantile", "poisson"})],
    "quantile": [Interval(Real, 0, 1, closed="neither")],
}
NEURON = {"alpha": [_NOT_NEGATIVE], "max_iter": [_COUNT], "tol": [_NOT_NEGATIVE]}


def hidden_widths(owner: Any) -> list[int]:
    """The widths, once every parameter is of the type and range that scikit-learn wants."""
    owner._validate_params()
    hidden = owner.hidden_layer_sizes
    hidden = list(hidden) if np.iterable(hidden) else [hidden]
    return [check.integer(k, f"hidden_layer_sizes[{i}]") for i, k in enumerate(hidden)]


def extended(init: Callable[..., None], **own: Any) -> Callable[..., None]:
    """`init` with more parameters, by keyword: scikit-learn reads them from the signature."""

    def __init__(self, *args, **kwargs):
        values = {name: kwargs.pop(name, default) for name, default in own.items()}
        init(self, *args, **kwargs)
        vars(self).update(values)

    signature = inspect.signature(init)
    more = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in own.items()]
    __init__.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])
    return __init__


PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : {"relu", "identity", "logistic", "tanh"}
        Of the hidden layers; "logistic" is the sigmoid.
    solver : {"adam", "sgd", "lbfgs"}
        "lbfgs" takes all rows at once, in float64.
    alpha : float
        The squared weights times `alpha`/2, divided by `batch_size` (times the mean weight of all
        rows), are added to the loss, in a shorter last batch too. Biases are not penalised.
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
        Of "adam": theta -= lr * m / (sqrt(v) + epsilon), with the bias of m and v taken out of lr.
    n_iter_no_change : int
        Stop after more than so many epochs without a better one.
    max_fun : int
        The most evaluations of "lbfgs".
    n_networks : int
        Networks of an ensemble, each trained by itself from a `random_state` of its own, side by
        side on the threads there are; the mean of what they predict is predicted (probabilities,
        values, rates). By keyword only."""

ATTRIBUTES = """
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
        With `early_stopping`.
    estimators_ : list
        With several networks, an estimator of each: `loss_`, `best_loss_` and
        `best_validation_score_` are then their means, `n_iter_` their most, `coefs_` and
        `intercepts_` have an axis of networks before the others, and `loss_curve_` and
        `validation_scores_` are lists of a list for each."""

NOTES = """
    Notes
    -----
    Parameters start where scikit-learn's do for the same `random_state`; rows are shuffled in
    another order. X of float32 makes a float32 network. Not as in scikit-learn: a shorter last
    batch has the same penalty; momentum gathers gradients, and the learning rate of the step is
    applied to their sum, which differs where the rate changes; rows held out for `early_stopping`
    have all classes in proportion where that can be. `predict_log_proba` is computed from the
    outputs, not from probabilities that were rounded.
"""
