"""Dask collections to checked partitions: what is done on the client, and what where the rows are.

X, y and weights become one object a partition, where X is: numbers of the network's dtype that were
checked once. Every error names the partition.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import dask
import numpy as np
from distributed import Future

from ... import metrics
from ..._core import check
from ..._core.csr import Csr
from ..._training.summed import part, part_weights
from ..._training.tally import rows_of
from ...kernels import validate


@contextmanager
def of_partition(number: int):
    """Errors of these lines name the partition."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"partition {number}: {error}") from None


# on the client


def triples(X, y, sample_weight) -> list[tuple]:
    """(number, x, y, s, names of X's columns) of each partition; x, y, s not yet computed."""
    X = one_block_a_row(X, "X", 2)
    y = one_block_a_row(y, "y", (1, 2))
    given = {"X": X, "y": y}
    if sample_weight is not None:
        given["sample_weight"] = one_block_a_row(sample_weight, "sample_weight", 1)
    parts = {name: blocks(value) for name, value in given.items()}
    count = len(parts["X"])
    for name, value in given.items():
        if len(parts[name]) != count:
            raise ValueError(
                f"X has {count} partitions, {name} {len(parts[name])}; expected the same rows in "
                f"each: {_how(name, value)}"
            )
        for number, (rows, own) in enumerate(zip(_rows(X), _rows(value))):
            if rows is not None and own is not None and rows != own:
                raise ValueError(
                    f"partition {number} of X has {rows} rows, of {name} {own}; expected the same: "
                    f"{_how(name, value)}"
                )
    if not count:
        raise ValueError("X has no partitions; expected at least one")
    columns = [str(name) for name in X.columns] if hasattr(X, "columns") else None
    weights = parts.get("sample_weight", [None] * count)
    return [
        (number, *three, columns)
        for number, three in enumerate(zip(parts["X"], parts["y"], weights))
    ]


def is_dask(value) -> bool:
    """Whether it is something with partitions."""
    parts = value if isinstance(value, list) else [value]
    return any(dask.is_dask_collection(part) or isinstance(part, Future) for part in parts)


def is_array(value) -> bool:
    return hasattr(value, "chunks") and hasattr(value, "to_delayed")


def one_block_a_row(value, name: str, ndim):
    """A collection whose blocks have all columns."""
    if isinstance(value, (list, tuple)):
        for one in value:
            lazy = dask.is_dask_collection(one) or isinstance(one, Future)
            if not lazy and not hasattr(one, "shape"):
                raise TypeError(
                    f"{name} is a list with a {type(one).__name__}; expected a list of partitions: "
                    f"arrays, or Delayed or Future of them"
                )
        return list(value)
    if not dask.is_dask_collection(value) or not hasattr(value, "to_delayed"):
        raise TypeError(
            f"{name} is a {type(value).__name__}; expected a dask array or dataframe, or a list of "
            f"its partitions"
        )
    if is_array(value):
        allowed = ndim if isinstance(ndim, tuple) else (ndim,)
        if value.ndim not in allowed:
            raise ValueError(
                f"{name} has {value.ndim} dimensions; expected {' or '.join(map(str, allowed))}"
            )
        if value.ndim == 2 and value.numblocks[1] > 1:
            value = value.rechunk({1: -1})
    return value


def blocks(value) -> list:
    if isinstance(value, list):
        return value
    made = value.to_delayed()
    return made.ravel().tolist() if isinstance(made, np.ndarray) else list(made)


def _rows(value) -> list:
    """Rows of each partition, None where that is not known."""
    if not is_array(value):
        return []
    return [None if np.isnan(rows) else int(rows) for rows in value.chunks[0]]


def _how(name: str, value) -> str:
    if is_array(value):
        return f"use {name}.rechunk({{0: X.chunks[0]}})"
    return f"make X and {name} from one collection, or repartition both alike"


# where the rows are


@dataclass(eq=False)
class Rows:
    """A partition as it came: arrays, or X sparse."""

    number: int
    x: object
    y: np.ndarray
    s: np.ndarray | None

    def __len__(self) -> int:
        return self.x.shape[0]

    def __sizeof__(self) -> int:
        return 64 + sum(_bytes(array) for array in (self.x, self.y, self.s))


def _bytes(array) -> int:
    if array is None:
        return 0
    if check.is_sparse(array):
        return array.data.nbytes + array.indices.nbytes + array.indptr.nbytes
    return array.nbytes


def gathered(number: int, x, y, s, columns) -> Rows:
    """X, y and weights of a partition together."""
    with of_partition(number):
        found = [str(name) for name in x.columns] if hasattr(x, "columns") else None
        if columns is not None and found != columns:
            raise ValueError(_other_columns(columns, found))
        x = x if check.is_sparse(x) else _array(x, "X")
        if x.ndim != 2:
            raise ValueError(f"X has shape {x.shape}; expected rows and columns")
        y, n = _array(y, "y"), x.shape[0]
        s = None if s is None else _array(s, "sample_weight")
        for name, array in (("y", y), ("sample_weight", s)):
            if array is not None and array.shape[:1] != (n,):
                raise ValueError(f"X has {n} rows, {name} has shape {array.shape}")
    return Rows(number, x, y, s)


def _array(value, name: str) -> np.ndarray:
    if name == "y" and getattr(getattr(value, "dtype", None), "kind", "f") not in "biufUS":
        return np.asarray(value, object)  # labels
    return np.ascontiguousarray(check.as_array(value, name))


def _other_columns(columns, found) -> str:
    if found is None:
        return f"X has no named columns; expected {', '.join(columns)}"
    for name in columns:
        if name not in found:
            return f"X has no column {name!r}"
    for name in found:
        if name not in columns:
            return f"X has the column {name!r}, which the others do not have"
    return f"X has the columns {', '.join(found)}; expected {', '.join(columns)}"


@dataclass(eq=False)
class Part:
    """A partition as kernels take it."""

    number: int
    x: object
    y: np.ndarray
    s: np.ndarray | None
    weight: float  # of all its rows

    def __post_init__(self):
        self._order = (None, None)

    def __len__(self) -> int:
        return len(self.y)

    __sizeof__ = Rows.__sizeof__

    def __getstate__(self):
        return {**self.__dict__, "_order": (None, None)}

    def add(self, net, kind, theta, v, batch, index: int, threads):
        """What its rows of a batch add to a sum; None for nothing."""
        with of_partition(self.number):
            x, y, s = self._rows(batch, index)
            return part(net, kind, theta, x, y, s, v, threads) if len(y) else None

    def _rows(self, batch, index: int) -> tuple:
        if batch is None or batch.steps == 1:
            return self.x, self.y, self.s
        n = len(self)
        rows = slice(n * batch.step // batch.steps, n * (batch.step + 1) // batch.steps)
        if batch.seed is not None:
            key = batch.seed, batch.epoch
            if self._order[0] != key:
                rng = np.random.default_rng([*batch.seed, batch.epoch, index])
                self._order = key, rng.permutation(n)
            rows = self._order[1][rows]
        return self.x[rows], self.y[rows], None if self.s is None else self.s[rows]


@dataclass(frozen=True)
class Batch:
    """Of each partition an equal share of its rows: the step-th of `steps`, in the order of an
    epoch, or in that of the partition where `seed` is None."""

    epoch: int
    step: int
    steps: int
    seed: tuple | None


def prepared(rows: Rows, net) -> Part:
    """Checked and of the network's dtype, without a copy where it is so already."""
    n = len(rows)
    if not n:
        return Part(rows.number, rows.x, rows.y[:0], None, 0.0)
    with of_partition(rows.number):
        x = rows_of(metrics.inputs(rows.x, "X", net), net.dtype)
        y, _ = metrics.targets(net, n, rows.y, None)
        y = y.reshape(n, -1) if not net.spec.loss.labelled else y
        s = None if rows.s is None else part_weights(
            metrics._converted(rows.s, "sample_weight", check.F64), "sample_weight", net.dtype, n
        )  # fmt: skip
        weight = float(n) if s is None else validate.total(s)
    assert type(x) is Csr or x.flags.c_contiguous
    return Part(rows.number, x, y, s, weight)


def described(held: Part) -> tuple[int, float, bool]:
    """(rows, sum of weights, whether they were given)."""
    return len(held), held.weight, held.s is not None
