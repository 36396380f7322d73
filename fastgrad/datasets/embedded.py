"""Loading the embedded sets: compressed integers on disk, fresh float arrays for the caller.

Every file is an ``.npz`` of plain integer arrays, read with ``allow_pickle=False``. A call decodes
the file anew (some milliseconds), so the caller may write to what it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from fastgrad._core import check
from fastgrad.typing import D, Float32, Float64

Name: TypeAlias = Literal["diamonds", "digits"]

_ORDERED = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Generic[D]):
    """A real data set with its provenance.

    Attributes
    ----------
    name : str
    X : ndarray (n, d), float32 or float64, C-contiguous
    y : ndarray (n,)
        int64 labels 0..k-1 for a classification, of X's dtype for a regression.
    feature_names : tuple of d str
    target_name : str
    target_names : tuple of k str, or None for a regression
        The name of each class.
    task : "classification" or "regression"
    source, licence, description : str

    Examples
    --------
    >>> load("digits")
    Dataset('digits', classification, X (1797, 64) float64, y (1797,) int64)
    """

    name: str
    X: NDArray[D]
    y: NDArray[Any]
    feature_names: tuple[str, ...]
    target_name: str
    target_names: tuple[str, ...] | None
    task: Literal["classification", "regression"]
    source: str
    licence: str
    description: str

    def __repr__(self) -> str:
        arrays = ", ".join(f"{a} {v.shape} {v.dtype}" for a, v in (("X", self.X), ("y", self.y)))
        return f"Dataset({self.name!r}, {self.task}, {arrays})"


@overload
def load_digits(dtype: Float64 = ...) -> Dataset[np.float64]: ...
@overload
def load_digits(dtype: Float32) -> Dataset[np.float32]: ...
def load_digits(dtype: Any = np.float64) -> Dataset[Any]:
    """Handwritten digits: 1797 images of 8 x 8 pixels, ten classes.

    The test part of the UCI "Optical Recognition of Handwritten Digits" set, in the order in which
    scikit-learn ships it. Each input counts the ink in a block of 4 x 4 pixels, an integer 0..16;
    inputs are not scaled, and some are constant. Labels are 0..9.

    Parameters
    ----------
    dtype : float64 (default) or float32
        Of X.

    Returns
    -------
    Dataset
        X (1797, 64), y (1797,) int64.

    Raises
    ------
    TypeError
        For another dtype.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.X[0, :8].tolist(), digits.y[:5].tolist()
    ([0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0], [0, 1, 2, 3, 4])
    """
    dtype = check.float_dtype(dtype)
    columns = _read("digits")
    return Dataset(
        name="digits",
        X=columns["pixels"].astype(dtype),
        y=columns["label"].astype(np.int64),
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        target_name="digit",
        target_names=tuple("0123456789"),
        task="classification",
        source="E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, "
        "UCI Machine Learning Repository, doi:10.24432/C50P49 (test part, as in scikit-learn)",
        licence="CC BY 4.0",
        description="8 x 8 images of handwritten digits, pixel values 0..16.",
    )


@overload
def load_diamonds(dtype: Float64 = ...) -> Dataset[np.float64]: ...
@overload
def load_diamonds(dtype: Float32) -> Dataset[np.float32]: ...
def load_diamonds(dtype: Any = np.float64) -> Dataset[Any]:
    """Diamonds: nine properties and the price in US dollars of 53,940 round-cut diamonds.

    The ``diamonds`` table of ggplot2, all rows in its order. Numbers are as printed there: weight
    in carats, total depth and table width in per cent, length x, width y and depth z in
    millimetres. The three grades are ordered, and coded from worst to best: cut 0..4 (Fair, Good,
    Very Good, Premium, Ideal), color 0..6 (J to D), clarity 0..7 (I1, SI2, SI1, VS2, VS1, VVS2,
    VVS1, IF). Rows come nearly sorted by price, so shuffle before taking a part (`split` does).
    Left as they are: 146 repeated rows, 20 with a length of 0, and a few wrong lengths (58.9 mm).
    Prices run from 326 to 18,823, skewed: many models fit ``log(y)``.

    Parameters
    ----------
    dtype : float64 (default) or float32
        Of X and y.

    Returns
    -------
    Dataset
        X (53940, 9), y (53940,).

    Raises
    ------
    TypeError
        For another dtype.

    Examples
    --------
    >>> diamonds = load_diamonds()
    >>> dict(zip(diamonds.feature_names, diamonds.X[0].tolist()))  # doctest: +NORMALIZE_WHITESPACE
    {'carat': 0.23, 'cut': 4.0, 'color': 5.0, 'clarity': 1.0, 'depth': 61.5, 'table': 55.0,
     'x': 3.95, 'y': 3.98, 'z': 2.43}
    >>> float(diamonds.y[0])
    326.0
    """
    dtype = check.float_dtype(dtype)
    columns = _read("diamonds")
    price = columns.pop("price")
    X = np.empty((len(price), len(columns)), dtype)
    for j, (name, values) in enumerate(columns.items()):
        # Measurements have two decimals and are stored in hundredths; grades are codes.
        X[:, j] = values if name in _ORDERED else values / 100
    return Dataset(
        name="diamonds",
        X=X,
        y=price.astype(dtype),
        feature_names=tuple(columns),
        target_name="price",
        target_names=None,
        task="regression",
        source="H. Wickham, ggplot2: Elegant Graphics for Data Analysis (Springer, 2016), data set "
        "'diamonds' of the ggplot2 package (github.com/tidyverse/ggplot2, data-raw/diamonds.csv)",
        licence="MIT, Copyright (c) ggplot2 core developer team",
        description="Price in US dollars of round-cut diamonds from weight, grades and size.",
    )


_LOADERS = {"diamonds": load_diamonds, "digits": load_digits}


def names() -> tuple[str, ...]:
    """Names of the embedded sets, sorted.

    Examples
    --------
    >>> names()
    ('diamonds', 'digits')
    """
    return tuple(sorted(_LOADERS))


@overload
def load(name: Name, dtype: Float64 = ...) -> Dataset[np.float64]: ...
@overload
def load(name: Name, dtype: Float32) -> Dataset[np.float32]: ...
def load(name: Name, dtype: Any = np.float64) -> Dataset[Any]:
    """An embedded set by name: `load_digits` or `load_diamonds`.

    Parameters
    ----------
    name : str, one of `names`
    dtype : float64 (default) or float32

    Returns
    -------
    Dataset
        Its arrays are fresh at every call.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the known ones.
    TypeError
        For another dtype.

    Examples
    --------
    >>> load("diamonds", dtype="float32").X.dtype
    dtype('float32')
    """
    if name not in names():
        known = ", ".join(map(repr, names()))
        raise ValueError(f"name is {name!r}; expected one of {known}")
    return _LOADERS[name](dtype)


def _read(name):
    """The integer columns of one file, in the order in which they were written."""
    from importlib import resources  # half the time of importing fastgrad

    path = resources.files(__package__).joinpath(f"{name}.npz")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
        return dict(columns)
