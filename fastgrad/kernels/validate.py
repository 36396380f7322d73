"""Scans of values that must be right before anything is written: labels, targets, weights, the
structure of sparse rows.

Each returns the position of the first offender, -1 where there is none. NaN offends nowhere: it is
never hidden, it shows in the loss.
"""

from __future__ import annotations

from .jit import inner, jitable, kernel
from .simd import pointer
from .sums import sum_of


@inner
def values_inside(values, count, low, high):
    """Whether none of `count` numbers at a pointer is below low or above high."""
    outside = 0
    for i in range(count):
        outside |= (values[i] < low) | (values[i] > high)
    return outside == 0


@inner
def labels_inside(labels, k):
    """Whether all labels are 0 to k - 1."""
    outside = 0
    for i in range(labels.size):
        outside |= (labels[i] < 0) | (labels[i] >= k)
    return outside == 0


@kernel
def first_outside(values, low, high):
    """Of a contiguous array."""
    flat = values.ravel()
    if not values_inside(pointer(flat), flat.size, low, high):
        for i in range(flat.size):
            if flat[i] < low or flat[i] > high:
                return i
    return -1


@kernel
def first_label_outside(labels, k):
    if not labels_inside(labels, k):
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


@kernel
def first_index_outside(indices, columns):
    """Of the column numbers of a sparse array, int32 or int64."""
    low = high = indices[0] if indices.size else 0
    for i in range(indices.size):  # of their own width: twice as fast as comparisons with `columns`
        low, high = min(low, indices[i]), max(high, indices[i])
    if low < 0 or high >= columns:
        for i in range(indices.size):
            if indices[i] < 0 or indices[i] >= columns:
                return i
    return -1


@kernel
def first_step_back(indptr):
    """The first row that ends before it begins."""
    back = 0
    for i in range(indptr.size - 1):
        back |= indptr[i + 1] < indptr[i]
    if back:
        for i in range(indptr.size - 1):
            if indptr[i + 1] < indptr[i]:
                return i
    return -1


@kernel
def first_row_out_of_order(indices, indptr):
    """The first row whose column numbers do not grow from entry to entry: of these alone may any
    stand twice."""
    for row in range(indptr.size - 1):
        back = 0
        for i in range(indptr[row] + 1, indptr[row + 1]):
            back |= indices[i] <= indices[i - 1]
        if back:
            return row
    return -1
