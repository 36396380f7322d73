"""Scans of values that must be right before anything is written: labels, targets, weights.

Each returns the position of the first offender, -1 where there is none. NaN offends nowhere: it is
never hidden, it shows in the loss.
"""

from __future__ import annotations

from .jit import kernel


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


@kernel
def total(values):
    """The sum in float64."""
    result = 0.0
    for i in range(values.size):
        result += values[i]
    return result
