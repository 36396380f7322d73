"""Scans of values that must be right before anything is written: labels, targets, weights.

Each returns the position of the first offender, -1 where there is none. NaN offends nowhere: it is
never hidden, it shows in the loss.
"""

from __future__ import annotations

from .jit import jitable, kernel
from .simd import pointer
from .sums import sum_of


@kernel
def first_outside(values, low, high):
    flat = values.ravel()
    bad = 0
    for i in range(flat.size):
        bad |= (flat[i] < low) | (flat[i] > high)
    if bad:
        for i in range(flat.size):
            if flat[i] < low or flat[i] > high:
                return i
    return -1


@kernel
def first_label_outside(labels, k):
    bad = 0
    for i in range(labels.size):
        bad |= (labels[i] < 0) | (labels[i] >= k)
    if bad:
        for i in range(labels.size):
            if labels[i] < 0 or labels[i] >= k:
                return i
    return -1


@jitable
def weight_bounds(itemsize):
    """The least and the greatest sum of sample weights, which the loss is divided by: beyond them
    a product of a weight and 1 / sum could vanish or overflow."""
    return (1e-30, 1e30) if itemsize == 4 else (1e-290, 1e290)


@kernel
def total(values):
    """The sum in float64."""
    return sum_of(pointer(values), values.size)
