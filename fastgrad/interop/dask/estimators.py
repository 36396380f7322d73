"""`DaskMLPClassifier`, `DaskMLPRegressor`: the estimators of `interop.sklearn` over partitions.

What differs from those is here: where rows are checked and labels become codes, the loss over all
partitions, lazy predictions. Everything else of training is theirs.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.validation import check_is_fitted

from ..._training.tally import r2
from ..sklearn import FastMLPClassifier, FastMLPRegressor
from ..sklearn.mlp import FastMLP
from ..sklearn.parameters import (
    CLASSIFIER,
    REGRESSOR,
    ActivationName,
    HiddenLayers,
    Keywords,
    extended,
)
from .engines import Cluster, engine
from .labelled import coded, looked, right, squares, total_weight
from .lazy import nameless, predicted
from .partitions import is_dask
from .sums import PartedRows, gathered_rows
from .training import PreparedRows

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

BATCH_ROWS = 2**16  # of "auto": a step's arithmetic beside the milliseconds of its scheduling

_DIFFERENCES = """
    As `fastgrad.interop.sklearn.{kind}`, whose parameters and attributes these are, over Dask
    collections, with the conventions of LightGBM's estimators. Differences:

    Parameters
    ----------
    client : distributed.Client, optional
        None: the one that Dask would use, or no cluster. By keyword only; left out of pickles.
    batch_size : int or "auto"
        Rows of a step over all partitions, each of which gives an equal share; "auto" is 65,536,
        or all. A step costs some milliseconds of scheduling.
    early_stopping, n_networks
        Of False and 1 alone: stop by the loss (`tol`, `n_iter_no_change`), or use
        `fastgrad.interop.dask.fit` with `validation`.

    Attributes
    ----------
    client_ : distributed.Client or None
        That `fit` used.

    Notes
    -----
    `fit` takes X (n, d), y and `sample_weight` as dask arrays, dataframes or lists of partitions
    (`fastgrad.interop.dask.loss_and_grad` says how); numbers must be finite. Partitions stay where
    they are. The same partitions and `random_state` give the same bits on any number of workers.
    `predict` and its kin return dask arrays in the chunks of X, and compute nothing; of arrays in
    memory they return arrays, as `to_local()`, which is the estimator without Dask."""


class _DaskMLP:
    """Before `FastMLPClassifier` or `FastMLPRegressor` among the bases."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on all partitions.

        Parameters
        ----------
        X, y, sample_weight
            As the class says; for a classifier labels of any kind, found over all partitions, or
            columns of 0 and 1.

        Returns
        -------
        self
        """
        self._weights_given = sample_weight
        try:
            return self._fit(X, y, None, incremental=False)
        finally:
            del self._weights_given

    @property
    def partial_fit(self) -> Any:
        raise AttributeError(f"{type(self).__name__} has no partial_fit; use warm_start=True")

    @property
    def client_(self) -> Any:
        check_is_fitted(self)
        at = engine(self.client)
        return at.client if isinstance(at, Cluster) else None

    def to_local(self) -> Any:
        """The fitted estimator of `fastgrad.interop.sklearn`, which needs no Dask.

        Returns
        -------
        estimator : FastMLPClassifier or FastMLPRegressor
        """
        check_is_fitted(self)
        settings = {k: v for k, v in self.get_params(deep=False).items() if k != "client"}
        local = self._local(**settings)
        learnt = {k: v for k, v in self.__getstate__().items() if k not in (*settings, "client")}
        vars(local).update({k: v for k, v in learnt.items() if not k.startswith("_sklearn")})
        return local

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Any:
        twin = type(self)(**{**self.get_params(deep=False), "client": None})
        twin.client = self.client
        return twin

    # what FastMLP asks

    def _data(self, X, y, incremental):
        if self.early_stopping or self.n_networks != 1:
            raise ValueError(
                f"early_stopping is {self.early_stopping} and n_networks {self.n_networks}; "
                f"expected False and 1 over partitions: use fastgrad.interop.dask.fit with "
                f"validation, or to_local() of several fits"
            )
        first = not hasattr(self, "_theta") or not self.warm_start
        at = engine(self.client)
        rows = gathered_rows(at, X, y, self._weights_given)
        counts_events = not self._classifies and self._row().link == "exp"
        facts = at.fetch(at.map(looked, rows, self._classifies, counts_events))
        _require_alike(facts, getattr(self, "n_features_in_", None) if not first else None)
        facts = [fact for fact in facts if fact.rows]
        if not facts:
            raise ValueError("X has no rows in any partition; expected at least one")
        if first:
            self._sparse = None
            self.n_features_in_ = facts[0].columns
            vars(self).pop("feature_names_in_", None)
            if hasattr(X, "columns"):
                self.feature_names_in_ = np.asarray(X.columns, object)
        dtype = np.result_type(*(fact.dtype for fact in facts))
        dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
        made = PreparedRows(at, rows)
        made.shape = sum(fact.rows for fact in facts), facts[0].columns
        made.dtype = dtype if first else self._net.dtype
        return made, facts, first

    def _counted(self, X, sample_weight) -> float:
        return X.total

    def _objective(self, net, X, y, sample_weight):
        return PartedRows(net, X.at, X.taken()).summed().loss_and_grad

    def _rows_of_a_batch(self, n):
        return min(BATCH_ROWS, n) if self.batch_size == "auto" else self.batch_size

    def _offset(self, y, sample_weight):
        return self._parted_offset

    def _lazily(self, X, name: str, columns):
        """A method of the estimator without Dask, on the partitions of X."""
        if not is_dask(X):
            return getattr(self.to_local(), name)(X)
        return predicted(self.to_local(), X, name, columns)

    def _scored(self, X, y, sample_weight, function, *args):
        at = engine(self.client)
        rows = gathered_rows(at, X, y, sample_weight)
        return at.fetch(at.map(function, rows, nameless(self.to_local()), *args))


class DaskMLPClassifier(_DaskMLP, FastMLPClassifier):
    __doc__ = f"""A network of layers that classifies, over the partitions of a Dask cluster.
    {_DIFFERENCES.format(kind="FastMLPClassifier")} Columns of labels take no `class_weight`.

    Examples
    --------
    >>> import dask.array as da
    >>> import fastgrad as fg
    >>> from fastgrad.interop.dask import DaskMLPClassifier
    >>> digits = fg.datasets.load_digits()
    >>> X = da.from_array(digits.X / 16, chunks=(500, 64))
    >>> y = da.from_array(digits.y, chunks=500)
    >>> clf = DaskMLPClassifier((32,), solver="lbfgs", max_iter=40, alpha=1.0, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     clf = clf.fit(X, y)
    >>> clf.predict(X).chunks, bool(clf.score(X, y) > 0.9)
    (((500, 500, 500, 297),), True)
    """

    _parameter_constraints: ClassVar = {**CLASSIFIER, "client": "no_validation"}
    if TYPE_CHECKING:

        def __init__(
            self,
            hidden_layer_sizes: HiddenLayers = ...,
            activation: ActivationName = ...,
            *,
            class_weight: dict[Any, float] | Literal["balanced"] | None = ...,
            client: Any = ...,
            **options: Unpack[Keywords],
        ) -> None: ...
    else:
        __init__ = extended(FastMLP.__init__, class_weight=None, n_networks=1, client=None)
    _local, _classifies = FastMLPClassifier, True

    def _targets(self, X, facts, sample_weight, first, classes, incremental):
        columns = facts[0].outputs
        if columns:
            if self.class_weight is not None:
                raise ValueError("class_weight is given; y of several columns takes none")
            few = np.vstack([np.zeros(columns), np.ones(columns)]).astype(np.int64)
        else:
            found = np.unique(np.concatenate([fact.classes for fact in facts]))
            few = np.repeat(found, 3)  # as rows have them: more rows than labels
        _, _, outputs, loss = super()._targets(X, few, None, first, None, False)
        weights = None if columns else self._weights_of_classes(facts)
        to = None if columns else self.classes_
        X.rows = X.at.map(coded, X.rows, to, weights, X.dtype, loss == "cross_entropy")
        totals = [fact.weight for fact in facts]
        if weights is not None:
            totals = X.at.fetch(X.at.map(total_weight, X.rows))
        X.total = math.fsum(totals)
        self._parted_offset = 0.0
        return None, None, outputs, loss

    def _weights_of_classes(self, facts):
        """(classes,) or None."""
        if self.class_weight is None:
            return None
        if self.class_weight != "balanced":
            return np.array([float(self.class_weight.get(c, 1.0)) for c in self.classes_])
        counts = np.zeros(self.classes_.size)
        for fact in facts:
            counts[np.searchsorted(self.classes_, fact.classes)] += fact.counts
        return counts.sum() / (self.classes_.size * np.where(counts > 0, counts, 1.0))

    def predict(self, X: Any) -> Any:
        """The labels: a dask array in the chunks of X, not yet computed."""
        check_is_fitted(self)
        return self._lazily(X, "predict", self.n_outputs_ if self._multilabel else None)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (n, classes), lazily."""
        check_is_fitted(self)
        return self._lazily(X, "predict_proba", len(self.classes_))

    def predict_log_proba(self, X: Any) -> Any:
        """Their logarithms, lazily."""
        check_is_fitted(self)
        return self._lazily(X, "predict_log_proba", len(self.classes_))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the rows whose labels are predicted; computed at once."""
        if not is_dask(X):
            return self.to_local().score(X, y, sample_weight)
        found = self._scored(X, y, sample_weight, right)
        return math.fsum(hit for _, hit in found) / _counted(math.fsum(s for s, _ in found))


class DaskMLPRegressor(_DaskMLP, FastMLPRegressor):
    __doc__ = f"""A network of layers that predicts numbers, over the partitions of a Dask cluster.
    {_DIFFERENCES.format(kind="FastMLPRegressor")}

    Examples
    --------
    >>> import dask.array as da
    >>> from fastgrad.interop.dask import DaskMLPRegressor
    >>> X = da.linspace(-1, 1, 200, chunks=50).reshape(-1, 1)
    >>> y = abs(X[:, 0])
    >>> reg = DaskMLPRegressor((16, 16), solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(reg.score(X, y) > 0.99)
    True
    """

    _parameter_constraints: ClassVar = {**REGRESSOR, "client": "no_validation"}
    if TYPE_CHECKING:

        def __init__(
            self,
            hidden_layer_sizes: HiddenLayers = ...,
            activation: ActivationName = ...,
            *,
            loss: Literal["squared_error", "absolute_error", "huber", "quantile", "poisson"] = ...,
            quantile: float = ...,
            client: Any = ...,
            **options: Unpack[Keywords],
        ) -> None: ...
    else:
        __init__ = extended(
            FastMLP.__init__, loss="squared_error", quantile=0.5, n_networks=1, client=None
        )
    _local, _classifies = FastMLPRegressor, False

    def _targets(self, X, facts, sample_weight, first, classes, incremental):
        least = self._row().least_target
        for fact in facts:
            if fact.least < least:
                raise ValueError(
                    f"partition {fact.number}: y has the value {fact.least}; expected 0 or more "
                    f"for the loss {self.loss!r}"
                )
        few = np.zeros((1, *facts[0].outputs))
        _, _, outputs, loss = super()._targets(X, few, None, first, None, False)
        X.total = math.fsum(fact.weight for fact in facts)
        self._parted_offset = math.fsum(fact.offset for fact in facts) / X.total
        return None, None, outputs, loss

    def predict(self, X: Any) -> Any:
        """Predictions: a dask array in the chunks of X, not yet computed."""
        check_is_fitted(self)
        return self._lazily(X, "predict", None if self._one_column else self.n_outputs_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2, the mean over outputs; NaN of a single row, with a warning. Computed at once."""
        if not is_dask(X):
            return self.to_local().score(X, y, sample_weight)
        first = sum(self._scored(X, y, sample_weight, squares, None))
        mean = first[1] / _counted(first[0])
        if first[3][0] < 2:
            words = "R^2 score is not well-defined with less than two samples."
            warnings.warn(words, UndefinedMetricWarning, stacklevel=2)
            return float("nan")
        return r2(first[2], sum(self._scored(X, y, sample_weight, squares, mean))[2])


def _counted(weight):
    """The weight of all rows, of which one at least must count."""
    if not np.all(weight):
        raise ValueError("there are no rows that count; expected at least one")
    return weight


def _require_alike(facts, columns) -> None:
    """Partitions of as many columns of X and y, and of as many as before."""
    known = [fact for fact in facts if fact.rows] or facts
    columns = known[0].columns if columns is None else columns
    for fact in known:
        if fact.columns != columns:
            raise ValueError(
                f"partition {fact.number}: X has {fact.columns} columns; expected {columns}"
            )
        if fact.outputs != known[0].outputs:
            raise ValueError(
                f"partition {fact.number}: y has {fact.outputs or (1,)} columns, partition "
                f"{known[0].number} {known[0].outputs or (1,)}; expected the same"
            )
