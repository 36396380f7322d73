"""Preparing data for training: a seeded split, and columns of mean 0 and deviation 1."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgrad._core import check
from fastgrad.datasets.embedded import Dataset
from fastgrad.typing import D, Numbers, Seed, T

U = TypeVar("U", bound=np.generic)


class Scaling(NamedTuple):
    """What `standardize` took away: ``X = transformed * scale + mean``, float64, shape (d,)."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __repr__(self) -> str:
        with np.printoptions(threshold=8, edgeitems=2, precision=4):
            return f"Scaling(mean={self.mean}, scale={self.scale})"


@overload
def split(
    data: Dataset[D], y: None = ..., *, test_fraction: float = ..., seed: Seed = ...
) -> tuple[NDArray[D], NDArray[D], NDArray[Any], NDArray[Any]]: ...
@overload
def split(
    data: NDArray[T], y: NDArray[U], *, test_fraction: float = ..., seed: Seed = ...
) -> tuple[NDArray[T], NDArray[T], NDArray[U], NDArray[U]]: ...
@overload
def split(
    data: ArrayLike, y: ArrayLike, *, test_fraction: float = ..., seed: Seed = ...
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def split(
    data: Any, y: Any = None, *, test_fraction: float = 0.2, seed: Seed = 0
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Shuffle the samples and part them into training and test samples.

    Parameters
    ----------
    data : Dataset, or array (n, ...)
        With an array its targets `y` are needed.
    y : array (n, ...), with an array alone
    test_fraction : float in (0, 1)
        ``round(n * test_fraction)`` samples are for testing, at least one on either side.
    seed : int, or anything `numpy.random.default_rng` takes

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Copies, of the dtypes given.

    Raises
    ------
    TypeError
        If y is missing, or given beside a Dataset.
    ValueError
        If the numbers of rows differ, there are fewer than two, or the fraction is not in (0, 1).

    Examples
    --------
    >>> X_train, X_test, y_train, y_test = split(np.arange(10).reshape(5, 2), np.arange(5))
    >>> X_train.shape, X_test.shape, (X_train[:, 0] == 2 * y_train).all().item()
    ((4, 2), (1, 2), True)
    """
    if isinstance(data, Dataset):
        if y is not None:
            raise TypeError("y is given beside a Dataset; expected split(dataset)")
        data, y = data.X, data.y
    elif y is None:
        raise TypeError("y is missing; expected split(dataset) or split(X, y)")
    X, y = check.as_array(data, "X"), check.as_array(y, "y")
    for name, array in (("X", X), ("y", y)):
        if array.ndim == 0:
            raise ValueError(f"{name} has shape (); expected rows")
    n = X.shape[0]
    if y.shape[0] != n:
        raise ValueError(f"y has {y.shape[0]} rows, X has {n}")
    if n < 2:
        raise ValueError(f"X has {n} rows; expected at least 2 to split")
    if not 0 < check.scalar(test_fraction, "test_fraction") < 1:
        raise ValueError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    n_test = min(max(round(n * test_fraction), 1), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    test, train = order[:n_test], order[n_test:]
    return X[train], X[test], y[train], y[test]


@overload
def standardize(X_train: Numbers, /) -> tuple[NDArray[Any], Scaling]: ...
@overload
def standardize(
    X_train: Numbers, other: Numbers, /
) -> tuple[NDArray[Any], NDArray[Any], Scaling]: ...
@overload
def standardize(
    X_train: Numbers, other: Numbers, another: Numbers, /
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], Scaling]: ...
@overload
def standardize(X_train: Numbers, *others: Numbers) -> tuple[Any, ...]: ...
def standardize(X_train: Any, *others: Any) -> tuple[Any, ...]:
    """Shift and scale each column by the mean and standard deviation it has in `X_train`.

    The deviation is the population one (divided by n). A column that is constant in `X_train`
    becomes 0 there and is shifted only, in every array. Targets (n,) are taken too: to get back,
    ``prediction * scaling.scale + scaling.mean``.

    Parameters
    ----------
    X_train : array (n, d) or (n,)
    *others : arrays (any number of rows, d) or (any number of rows,)
        Transformed by the statistics of `X_train`.

    Returns
    -------
    *arrays : ndarray
        One fresh array for each given, in order; float32 stays float32, all else is float64.
    scaling : Scaling
        Last: ``mean`` and ``scale``, float64.

    Raises
    ------
    TypeError
        If an array is not of real numbers.
    ValueError
        If X_train has no rows, or an array's columns are not those of X_train.

    Examples
    --------
    >>> train, test = np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([[4.0, 8.0]])
    >>> train, test, scaling = standardize(train, test)
    >>> train.tolist(), test.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[2.0, 1.0]])
    >>> scaling.mean.tolist(), scaling.scale.tolist()
    ([2.0, 7.0], [1.0, 1.0])
    """
    arrays = []
    for i, value in enumerate((X_train, *others)):
        name = f"array {i}" if i else "X_train"
        arrays.append(check.as_array(value, name))
        if arrays[-1].dtype.kind not in "biuf":
            raise TypeError(f"{name} has dtype {arrays[-1].dtype}; expected real numbers")
    first = arrays[0]
    if first.ndim not in (1, 2) or first.shape[0] == 0:
        raise ValueError(f"X_train has shape {first.shape}; expected (n,) or (n, d) with rows")
    for i, other in enumerate(arrays[1:], start=1):
        if other.ndim != first.ndim or other.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"array {i} has shape {other.shape}; expected the columns of X_train, {first.shape}"
            )
    mean, scale = moments(first)
    scaled_ = [
        scaled(a, mean, scale).astype(a.dtype if a.dtype == np.float32 else np.float64)
        for a in arrays
    ]
    return *scaled_, Scaling(mean, scale)


def moments(X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population deviation of each column, float64; 1 for that of a constant column.

    Numbers of any size: a column far from 1 is first multiplied by a power of two, exactly, so that
    neither its sum nor its squares leave the range.

    Examples
    --------
    >>> moments(np.array([1e300, 3e300]))
    (array(2.e+300), array(1.e+300))
    """
    low, high = X.min(axis=0), X.max(axis=0)
    constant = high == low  # compared: rounding gives a column of 0.1 a deviation of 1e-17
    size = np.frexp(np.maximum(high.astype(np.float64), -low.astype(np.float64)))[1]
    shift = np.where((size < -400) | (size > 490), size, 0)
    near = np.ldexp(X.astype(np.float64), -shift) if shift.any() else X
    mean = np.ldexp(near.mean(axis=0, dtype=np.float64), shift)
    scale = np.ldexp(near.std(axis=0, dtype=np.float64), shift)
    least = 5e-324  # the smallest number above 0
    return np.where(constant, X[0], mean), np.where(constant, 1.0, np.maximum(scale, least))


def scaled(X: NDArray[Any], mean: Any, scale: Any) -> NDArray[np.float64]:
    """(X - mean) / scale in float64, also where the difference alone would overflow.

    Examples
    --------
    >>> scaled(np.array([-1.5e308, 1.5e308]), -1e308, 1e308)
    array([-0.5,  2.5])
    """
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        Z = (X - mean) / scale
        lost = ~np.isfinite(Z)
        if lost.any():
            down = -np.frexp(scale)[1]
            again = (np.ldexp(X, down) - np.ldexp(mean, down)) / np.ldexp(scale, down)
            Z = np.where(lost, again, Z)
    return Z
