"""Many fits in one call: seeds, grids of learning rates and penalties, cross-validation.

check -> runs -> threads over them -> results. What the fits have in common is checked and converted
once; each is then a `_training.run.Run` like that of `fit` alone, so it has the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from . import metrics
from ._core import check
from ._core.calls import checked_network
from ._core.names import list_public
from ._core.pool import run_all
from ._core.progress import Together
from ._core.run import whole_rounds
from ._core.threads import check_threads
from ._training.arguments import (
    BATCH_SIZE,
    optimizer_of,
    refuse_batches,
    sequence_of,
    validation_of,
)
from ._training.many_results import FitResults, Setting
from ._training.optimizer import Optimizer
from ._training.run import Run
from ._training.sources import Arrays
from .kernels import records as at
from .network import MLP
from .runtime import get_num_threads
from .second_order import SecondOrder
from .stack import as_list
from .training import Batch, Data, ended
from .typing import D, Numbers, OptimizerName, Seed

__all__ = ["FitResults", "Setting", "fit_many"]
list_public(globals())


Kind: TypeAlias = Optimizer | SecondOrder | OptimizerName


def fit_many(
    net: MLP[D],
    X: Data,
    y: Numbers,
    *,
    seeds: Iterable[Seed],
    optimizers: Kind | Iterable[Kind] = "adam",
    folds: int | Iterable[tuple[Numbers, Numbers]] | None = None,
    l2: float | Iterable[float] | None = None,
    epochs: int = 20,
    batch_size: int | None = None,
    sample_weight: Numbers | None = None,
    validation: Batch | None = None,
    shuffle: bool = True,
    patience: int | None = None,
    min_delta: float = 0.0,
    progress: bool | None = None,
    threads: int | None = None,
) -> FitResults[D]:
    """Train a network for every combination of optimizers, penalties, seeds and folds, each as
    `fit` alone would.

    Threads go over the fits; where there are fewer than threads and the networks are large, inside
    them.

    Parameters
    ----------
    net : MLP
    X : array (n, d)
        As for `fit`, but no batches; with `folds` a memory map is read into memory.
    y : array (n,) or (n, k)
    seeds : sequence
        Of what `fit` takes for `seed`, as ``range(10)``.
    optimizers : Optimizer, SecondOrder or str, or a sequence of them
        As ``[fg.Adam(rate) for rate in (1e-2, 1e-3, 1e-4)]``; each fit has a copy.
    folds : int or sequence of (train, held out), optional
        Cross-validation: a fit learns from the rows ``train`` and is validated after every epoch on
        the rows ``held_out``, arrays of row numbers, as scikit-learn's splitters make them. An
        integer K: the rows in an order that is always the same, in K parts, of which each is held
        out once. `settings` has the rows.
    l2 : float or sequence of float, optional
        In the place of the network's.
    epochs, batch_size, sample_weight, validation, shuffle, patience, min_delta
        Of each fit, as for `fit`; early stopping is each fit's own. `validation` is not for
        `folds`.
    progress : bool, optional
        As for `fit`: one bar for all fits, or a line now and then when one has ended.
    threads : int, optional
        The most threads.

    Returns
    -------
    results : FitResults
        A list of `FitResult` with `shape`, `settings`, `thetas` and `last`. Ctrl-C ends all fits
        after a whole step and returns what there is (`interrupted`).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, before the first step of any; the message names it.

    Warns
    -----
    RuntimeWarning
        As `fit`, with the number of the fit in the list.

    Notes
    -----
    Formula 39: ``results[i]`` has the bits of ``fit(net, X, y, optimizer=..., seed=...)``, or with
    folds of ``fit(net, X[train], y[train], validation=(X[held_out], y[held_out]), ...)``, weights
    split alike. X is not copied for folds, but for the rows held out.

    Examples
    --------
    >>> import fastgrad as fg
    >>> digits = fg.datasets.load_digits()
    >>> net = fg.MLP([64, 32, 10], loss="cross_entropy", dtype="float32")
    >>> rates = [fg.Adam(1e-2), fg.Adam(1e-3)]
    >>> results = fg.fit_many(net, digits.X / 16, digits.y, seeds=range(2), optimizers=rates,
    ...                       folds=3, epochs=10)
    >>> len(results), results.last("val_accuracy").mean(axis=(2, 3)).shape
    (12, (2, 1))
    """
    checked_network(net)
    epochs = check.integer(epochs, "epochs", least=0)
    rows = check.integer(BATCH_SIZE if batch_size is None else batch_size, "batch_size")
    if patience is not None:
        patience = check.integer(patience, "patience")
    min_delta = check.non_negative(min_delta, "min_delta")
    shuffle = check.boolean(shuffle, "shuffle")
    progress = None if progress is None else check.boolean(progress, "progress")
    bound = get_num_threads() if threads is None else check_threads(threads)
    seeds = _some(seeds, "seeds", "range(10)")
    single = isinstance(optimizers, (str, Optimizer, SecondOrder))
    optimizers = [optimizers] if single else _some(optimizers, "optimizers", "[fg.Adam(0.01)]")
    if batch_size is not None:
        for optimizer in map(optimizer_of, optimizers):
            if isinstance(optimizer, SecondOrder):
                refuse_batches(optimizer, batch_size)
    batch_size, nets = rows, _networks(net, l2)
    if folds is not None:
        if validation is not None:
            raise ValueError("validation is given beside folds, which hold out rows of X")
        if isinstance(X, np.memmap) and X.dtype.kind in "biuf":
            X = np.array(X, net.dtype, order="C", subok=False)
    source = Arrays(net, X, y, sample_weight, batch_size, shuffle)
    if sample_weight is not None:
        sample_weight = np.asarray(metrics._converted(sample_weight, "sample_weight", check.F64))
    if folds is None:
        parts = [(source, validation_of(net, validation), None, None)]
    else:
        parts = [_part(net, source, sample_weight, batch_size, i, *rows)
                 for i, rows in enumerate(_folds(folds, source.size))]  # fmt: skip
    starts = []
    for i, seed in enumerate(seeds):
        sequence = sequence_of(seed, f"seeds[{i}]")
        starts.append((seed, sequence, net.init(sequence)))
    runs, settings = [], []
    for optimizer, own, (seed, sequence, theta), (rows, held, train, held_out) in product(
        optimizers, nets, starts, parts
    ):
        runs.append(
            Run(
                own, theta.copy(), sequence_of(sequence), optimizer_of(optimizer), rows, held,
                epochs, patience, min_delta, 1,
            )
        )  # fmt: skip
        settings.append(Setting(own, optimizer, seed, train, held_out))
    shape = len(optimizers), len(nets), len(seeds), len(parts)
    _train(runs, bound, Together(progress, len(runs), epochs))
    for i, run in enumerate(runs):
        ended(run.result, f"fit {i}: ")
    return FitResults([run.result for run in runs], shape, settings)


def _train(runs, bound: int, shown) -> None:
    """Threads over the runs; over the last ones, where these are few and large, inside them."""
    stop = threading.Event()
    for run in runs:
        run.stop = stop
    whole = len(runs)
    if runs:
        source = runs[0].source
        whole_data = not isinstance(runs[0].result.optimizer, Optimizer)
        rows = source.size if whole_data else source.rows
        want = at.LOSS | at.GRADIENT
        plan = runs[0].net._plan(rows, want, source.weighted, source.sparse)
        whole = whole_rounds(len(runs), bound, plan)
    for run in runs[whole:]:
        run.threads = bound
    try:
        run_all([partial(_one, run, shown, stop) for run in runs[:whole]], bound, stop)
        for run in runs[whole:]:
            _one(run, shown, stop)
    finally:
        shown.close()


def _one(run, shown, stop) -> None:
    if run.train(shown.part()).interrupted:  # by Ctrl-C in the main thread, or by `stop`
        stop.set()


def _some(values, name: str, example: str) -> list[Any]:
    """The items of a sequence, one or more."""
    values = as_list(values, name, example)
    if not values:
        raise ValueError(f"{name} is empty; expected one or more, such as {example}")
    return values


def _networks(net: MLP, l2) -> list[MLP]:
    """The network, or one for each penalty."""
    if l2 is None:
        return [net]
    values = [l2] if np.ndim(l2) == 0 else _some(l2, "l2", "[0.0, 1e-4]")
    settings = net.spec.settings()
    numbers = [check.non_negative(v, f"l2[{i}]") for i, v in enumerate(values)]
    return [MLP(**{**settings, "l2": number}) for number in numbers]


def _folds(folds, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows to train on, rows held out) of each fold."""
    if isinstance(folds, (int, np.integer)):
        count = check.integer(folds, "folds", least=2)
        if count > n:
            raise ValueError(f"folds is {count}; expected at most {n}, the rows of X")
        order, rows = np.random.default_rng(0).permutation(n), np.arange(n)
        held = [np.sort(part) for part in np.array_split(order, count)]
        return [(np.delete(rows, part), part) for part in held]
    found = []
    for i, pair in enumerate(_some(folds, "folds", "[(train, held_out), ...]")):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"folds[{i}] is no pair (train, held_out) of row numbers")
        names = f"train of folds[{i}]", f"held_out of folds[{i}]"
        found.append(tuple(_rows(rows, name, n) for rows, name in zip(pair, names)))
    return found


def _rows(value, name: str, n: int) -> np.ndarray:
    rows = check.as_array(value, name)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size:
        raise TypeError(
            f"{name} has shape {rows.shape} and dtype {rows.dtype}; expected row numbers, one or "
            f"more"
        )
    bad = (rows < 0) | (rows >= n)
    if bad.any():
        raise ValueError(f"{name} has the row {rows[bad][0]}; expected 0 to {n - 1}")
    return rows.astype(np.int64)


def _part(net, source, sample_weight, batch_size, number, train, held_out):
    """(source, validation, train, held_out) of a fold."""
    name = f"sample_weight of the train rows of folds[{number}]"
    s = None if sample_weight is None else sample_weight[held_out]
    y = source.y.reshape(source.size, -1)[held_out]
    y = y[:, 0] if net.spec.loss.labelled else y
    held = source.X[held_out], *metrics.targets(net, held_out.size, y, s, f"folds[{number}]: ")
    return source.subset(train, batch_size, sample_weight, name), held, train, held_out
