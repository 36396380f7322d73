"""`FastMLPClassifier`: labels to codes and losses, outputs to labels and probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, csr_matrix, sparray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ...kernels.engine import probabilities
from .mlp import FastMLP
from .parameters import (
    ATTRIBUTES,
    CLASSIFIER,
    NOTES,
    PARAMETERS,
    ActivationName,
    HiddenLayers,
    Keywords,
    extended,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ...typing import SparseRows


class FastMLPClassifier(ClassifierMixin, FastMLP):
    __doc__ = f"""A network of layers that classifies: binary, multiclass or multilabel.

    With two classes one logit and the logistic loss; with more, softmax cross-entropy; a matrix of
    0 and 1, dense or sparse, makes a logistic output for each column, and predictions are such a
    matrix. All losses are means over samples. A single class is predicted always.
    {PARAMETERS}
    class_weight : None, dict or "balanced"
        Weights of the classes, multiplied into `sample_weight`.
    {ATTRIBUTES}
    classes_ : ndarray
        The labels, sorted.
    {NOTES}
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

    _parameter_constraints = CLASSIFIER
    if TYPE_CHECKING:
        classes_: NDArray[Any]

        def __init__(
            self,
            hidden_layer_sizes: HiddenLayers = ...,
            activation: ActivationName = ...,
            *,
            class_weight: dict[Any, float] | Literal["balanced"] | None = ...,
            **options: Unpack[Keywords],
        ) -> None: ...
    else:
        __init__ = extended(FastMLP.__init__, class_weight=None, n_networks=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _dense(self, y, first: bool):
        """Sparse labels; `predict` gives such back."""
        if first:
            self._sparse = csr_array if isinstance(y, sparray) else csr_matrix
        return y.toarray()

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
        if not incremental and (many != self._multilabel or set(found) != set(self.classes_)):
            raise ValueError(
                f"warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        if many != self._multilabel or not np.isin(found, self.classes_).all():
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )
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
        if self.classes_.size <= 2:
            return codes.astype(X.dtype), sample_weight, 1, "logistic"
        return codes.astype(np.int64), sample_weight, self.classes_.size, "cross_entropy"

    def _codes(self, outputs):
        if self.out_activation_ == "softmax":
            return outputs.argmax(axis=1)
        codes = (outputs > 0).astype(np.int64)
        if self.classes_.size == 1 and not self._multilabel:
            codes[:] = 0
        return codes if self._multilabel else codes[:, 0]

    def _labels(self, y):
        return None if self._multilabel else self.classes_[y.astype(np.int64)]

    def _score_of(self, outputs, y, weight):
        if not np.isfinite(outputs).all():
            return float("nan")
        right = self._codes(outputs) == y
        return float(np.average(right.all(axis=1) if right.ndim == 2 else right, weights=weight))

    @available_if(FastMLP._stochastic)
    def partial_fit(
        self,
        X: ArrayLike | SparseRows,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One epoch over the given rows; the first call must name all `classes`.

        Parameters
        ----------
        X : array-like or sparse (n, d)
        y : array-like (n,) or (n, k)
        classes : array-like, optional
        sample_weight : array-like (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        if classes is None and not hasattr(self, "_theta"):
            raise ValueError("classes must be passed on the first call to partial_fit")
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: ArrayLike | SparseRows) -> Any:
        """The labels of the rows of X: (n,), or (n, k) of 0 and 1 for multilabel data."""
        codes = self._codes(self._outputs(X))
        if not self._multilabel:
            return self.classes_[codes]
        return codes if self._sparse is None else self._sparse(codes)

    def predict_log_proba(self, X: ArrayLike | SparseRows) -> NDArray[Any]:
        """The logarithms of `predict_proba`, finite where that rounds to 0."""
        z = self._outputs(X)
        if self.classes_.size == 1:
            return np.zeros_like(z)
        if self.out_activation_ == "softmax":
            z = z - z.max(axis=1, keepdims=True)
            return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        of_one = -np.logaddexp(0, -z)
        return of_one if self._multilabel else np.hstack([-np.logaddexp(0, z), of_one])

    def predict_proba(self, X: ArrayLike | SparseRows) -> NDArray[Any]:
        """Probabilities (n, classes); for multilabel data of each column's 1, (n, k)."""
        z = self._outputs(X)
        if self.classes_.size == 1:
            return np.ones_like(z)
        if self.out_activation_ == "logistic" and not self._multilabel:
            z = np.hstack([-z, z])  # 1 - p would lose the small ones
        probabilities(z, self.out_activation_ == "softmax")
        return z
