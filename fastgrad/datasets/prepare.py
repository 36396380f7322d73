"""Preparing data for training: a seeded split, and columns of mean 0 and deviation 1."""

from typing import NamedTuple

import numpy as np

from fastgrad.datasets.embedded import Dataset


class Scaling(NamedTuple):
    """What `standardize` took away: ``X = transformed * scale + mean``, float64, shape (d,)."""

    mean: np.ndarray
    scale: np.ndarray


def split(data, y=None, *, test_fraction=0.2, seed=0):
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
            raise TypeError("y comes with a Dataset, give it with an array alone")
        data, y = data.X, data.y
    elif y is None:
        raise TypeError("y is missing: expected split(dataset) or split(X, y)")
    X, y = np.asarray(data), np.asarray(y)
    if X.ndim == 0 or y.ndim == 0:
        raise ValueError(f"X and y must have rows, got shapes {X.shape} and {y.shape}")
    n = X.shape[0]
    if y.shape[0] != n:
        raise ValueError(f"y has {y.shape[0]} rows, X has {n}")
    if n < 2:
        raise ValueError(f"X must have at least 2 rows to split, got {n}")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction!r}")
    n_test = min(max(round(n * test_fraction), 1), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    test, train = order[:n_test], order[n_test:]
    return X[train], X[test], y[train], y[test]


def standardize(X_train, *others):
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
        If an array is not one of numbers.
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
    arrays = [np.asarray(a) for a in (X_train, *others)]
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biuf":
            name = f"array {i}" if i else "X_train"
            raise TypeError(f"{name} has dtype {array.dtype}; expected numbers")
    first = arrays[0]
    if first.ndim not in (1, 2) or first.shape[0] == 0:
        raise ValueError(f"X_train must be (n,) or (n, d) with rows, got shape {first.shape}")
    for i, other in enumerate(arrays[1:], start=1):
        if other.ndim != first.ndim or other.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"array {i} has shape {other.shape}, which does not fit X_train's {first.shape}"
            )
    # Compared, not judged by the deviation: rounding gives a column of 0.1 one of 1e-17.
    constant = first.max(axis=0) == first.min(axis=0)
    mean = np.where(constant, first[0], first.mean(axis=0, dtype=np.float64))
    scale = np.where(constant, 1.0, first.std(axis=0, dtype=np.float64))
    scaled = [
        ((a - mean) / scale).astype(a.dtype if a.dtype == np.float32 else np.float64)
        for a in arrays
    ]
    return *scaled, Scaling(mean, scale)
