"""Axes to draw on, colours, and what pictures take for arguments."""

from __future__ import annotations

import numpy as np

from .._core import check

# Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
DASHES = ("-", "--", "-.", ":")
MAP = "cividis"


def axes(ax):
    """The caller's Axes, or new ones in a figure of pyplot's."""
    if ax is not None:
        if not hasattr(ax, "plot"):
            raise TypeError(f"ax is a {type(ax).__name__}; expected matplotlib Axes")
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError('fastgrad.plots needs matplotlib: pip install "fastgrad[plot]"') from None
    return pyplot.subplots(layout="constrained")[1]


def legend(ax, **options) -> None:
    """In a fixed corner: to search for the best place takes seconds where there are many rows."""
    ax.legend(loc="upper right", **options)


def finite(value, name: str, *ranks: int) -> np.ndarray:
    """Finite numbers of one of these ranks, as float64."""
    array = check.as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}; expected numbers")
    if array.ndim not in ranks:
        expected = " or ".join(("()", "(n,)", "(n, d)")[rank] for rank in ranks)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}")
    array = array.astype(np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} is empty or not finite; expected finite numbers")
    return array


def interval(value, name: str) -> tuple[float, float]:
    """Two numbers, the first below the second."""
    array = finite(value, name, 1)
    if array.shape != (2,) or not array[0] < array[1]:
        raise ValueError(f"{name} is {value!r}; expected (low, high)")
    return float(array[0]), float(array[1])
