"""What estimators ask of partitions as they came: facts, codes for labels, scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._core import check
from ...kernels import validate
from .partitions import Rows, of_partition


@dataclass
class Facts:
    """Of one partition, by which the client makes the network."""

    number: int
    rows: int
    columns: int
    dtype: np.dtype  # of X
    outputs: tuple  # shape of a row's target
    classes: np.ndarray | None  # sorted labels; None for columns of labels, and of a regression
    counts: np.ndarray | None  # of rows of each class
    weight: float
    least: float  # target
    offset: float  # sum of weights * (y ln y - y)


def looked(rows: Rows, classifies: bool, counts_events: bool) -> Facts:
    """The facts of a partition, whose numbers must be finite."""
    with of_partition(rows.number):
        x, y, n = rows.x, rows.y, len(rows)
        values = x.data if check.is_sparse(x) else x
        if values.dtype.kind not in "biuf":
            raise TypeError(f"X has dtype {values.dtype}; expected numbers")
        _finite(values, "X", "stored entry" if check.is_sparse(x) else "row")
        if y.dtype.kind == "f":
            _finite(y, "y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if not classifies and y.dtype.kind not in "biuf":
            raise TypeError(f"y has dtype {y.dtype}; expected numbers")
        if classifies and y.ndim == 2 and not np.isin(y, (0, 1)).all():
            raise ValueError("y has several columns; expected 0 and 1 in them")
        s = np.ones(n) if rows.s is None else rows.s.astype(np.float64)
        classes, counts = (
            np.unique(y, return_counts=True) if classifies and y.ndim == 1 else (None, None)
        )
        least, offset = np.inf, 0.0
        if not classifies and n:
            least = float(y.min())
            if counts_events and least >= 0:
                terms = y * np.log(np.where(y > 0, y, 1.0)) - y
                offset = float(s @ terms.reshape(n, -1).sum(axis=1))
        total = validate.total(np.ascontiguousarray(s))
    return Facts(
        rows.number, n, x.shape[1], values.dtype, y.shape[1:], classes, counts, total, least, offset
    )  # fmt: skip


def _finite(values, name: str, place: str = "row") -> None:
    """A ValueError that says where NaN or infinity is."""
    if values.dtype.kind != "f":
        return
    known = np.isfinite(values)
    if not known.all():
        at = np.unravel_index(np.argmin(known), known.shape)
        raise ValueError(f"{name} has {values[at]} at {place} {at[0]}; expected finite numbers")


def coded(rows: Rows, classes, class_weights, dtype, as_labels: bool) -> Rows:
    """The partition with numbers for its labels, and weights times those of the classes.

    `classes` None: columns of 0 and 1.
    """
    y, s = rows.y, rows.s
    if classes is None:
        return Rows(rows.number, rows.x, y.astype(dtype), s)
    codes = np.searchsorted(classes, y.reshape(len(rows)))
    if class_weights is not None:
        s = class_weights[codes] if s is None else class_weights[codes] * s
    return Rows(rows.number, rows.x, codes.astype(np.int64 if as_labels else dtype), s)


def total_weight(rows: Rows) -> float:
    return float(len(rows)) if rows.s is None else validate.total(rows.s)


def right(rows: Rows, model) -> tuple[float, float]:
    """(sum of weights, of those of the rows whose labels are predicted)."""
    if not len(rows):
        return 0.0, 0.0
    with of_partition(rows.number):
        hits = model.predict(rows.x) == rows.y.reshape((len(rows), -1) if rows.y.ndim > 1 else -1)
        hits = hits.all(axis=1) if hits.ndim == 2 else hits
        s = np.ones(len(rows)) if rows.s is None else rows.s.astype(np.float64)
    return float(s.sum()), float(s @ hits)


def squares(rows: Rows, model, mean) -> np.ndarray:
    """(4, k): sums of weights, of targets and of squares left; of squares about `mean`, where it is
    given, in the place of the last; numbers of rows."""
    with of_partition(rows.number):
        n = len(rows)
        s = np.ones(n) if rows.s is None else rows.s.astype(np.float64)
        y = rows.y.reshape(n, -1).astype(np.float64)
        if mean is None and n:
            mean = np.reshape(model.predict(rows.x), y.shape)
        left = np.square(y - mean) if n else y
        k = y.shape[1]
        return np.stack([np.full(k, s.sum()), s @ y, s @ left, np.full(k, float(n))])
