"""Predictions that are computed when they are asked for, where their rows are."""

from __future__ import annotations

import copy
import uuid

import dask
import dask.array as da
import numpy as np

from .partitions import blocks, is_array, of_partition, one_block_a_row


def predicted(model, X, name: str, columns: int | None):
    """model.name(X) as a dask array in the chunks of X; (n,), or (n, columns)."""
    X = one_block_a_row(X, "X", 2)
    if not hasattr(X, "columns"):
        model = nameless(model)
    empty = getattr(nameless(model), name)(np.zeros((1, model.n_features_in_)))[:0]
    rows = X.chunks[0] if is_array(X) else None
    # One node of the graph, not a copy in each task.
    model = dask.delayed(model, name=f"{type(model).__name__}-{uuid.uuid4().hex}", traverse=False)
    make, parts = dask.delayed(_predicted), []
    for number, block in enumerate(blocks(X)):
        shape = (np.nan if rows is None else rows[number],)
        shape += () if columns is None else (columns,)
        value = make(model, name, block, number, empty)
        parts.append(da.from_delayed(value, shape, meta=empty))
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def nameless(model):
    """The estimator for arrays: without names of columns to compare."""
    twin = copy.copy(model)
    vars(twin).pop("feature_names_in_", None)
    return twin


def _predicted(model, name: str, x, number: int, empty):
    with of_partition(number):
        return getattr(model, name)(x) if x.shape[0] else empty
