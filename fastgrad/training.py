"""Training: `fit`, from arrays and an optimiser to parameters and what happened.

check (`_training/arguments.py`) -> epochs (`_training/run.py`) -> result.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Protocol, TypeAlias

import numpy as np

from . import checkpoint as store
from ._core import check, files
from ._core.calls import checked_network
from ._core.names import list_public
from ._core.progress import Progress
from ._training.arguments import (
    BATCH_SIZE,
    hooks_of,
    optimizer_of,
    sequence_of,
    source_of,
    start_of,
    validation_of,
)
from ._training.full_batch import NOT_FINITE
from ._training.optimizer import Optimizer
from ._training.ranks import Ranks
from ._training.result import FitResult
from ._training.run import Run
from ._training.stream import Stream
from ._training.summed import comparable_weights
from .network import MLP
from .second_order import SecondOrder
from .typing import D, Numbers, OptimizerName, PathLike, Seed, SparseRows

__all__ = ["FitResult", "fit"]
list_public(globals())


class OnEpoch(Protocol[D]):
    """A callback that is called after every epoch; what is true in return stops."""

    def on_epoch(self, result: FitResult[D], /) -> object: ...


class OnStep(Protocol[D]):
    """A callback that is called after every step; what is true in return stops."""

    def on_step(self, result: FitResult[D], /) -> object: ...


Callback: TypeAlias = Callable[[FitResult[D]], object] | OnEpoch[D] | OnStep[D]
Data: TypeAlias = Numbers | SparseRows
Batch: TypeAlias = tuple[Data, Numbers] | tuple[Data, Numbers, Numbers | None]
BatchSource: TypeAlias = (
    Callable[[], Iterable[Batch]] | Callable[[int], Iterable[Batch]] | Iterable[Batch]
)


def fit(
    net: MLP[D],
    X: Data | BatchSource | Stream,
    y: Numbers | None = None,
    *,
    theta: Numbers | None = None,
    optimizer: Optimizer | SecondOrder | OptimizerName = "adam",
    epochs: int = 20,
    batch_size: int | None = None,
    sample_weight: Numbers | None = None,
    validation: Batch | Stream | None = None,
    seed: Seed = None,
    shuffle: bool = True,
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks: Callback[D] | Iterable[Callback[D]] = (),
    progress: bool | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    threads: int | None = None,
    reduce: Any = None,
) -> FitResult[D]:
    """Train a network on minibatches (formula 21 over formulas 18 to 20, 23 and 24).

    Nothing that is passed is written to: theta and the optimiser are copied.

    Parameters
    ----------
    net : MLP
    X : array (n, d), or batches
        Numbers of any dtype, converted to the network's once; a `numpy.memmap` is read piece by
        piece and never copied whole; rows of a sparse X (`scipy.sparse`, CSR without a copy) are
        read where they are, in the order of the epoch. Batches: a function that makes an iterator
        of (X, y) or (X, y, sample_weight) for each epoch (it is given the epoch's number, from 0,
        if it takes an argument), or an object that can be iterated once an epoch. Or a `Stream` of
        files that do not fit in memory (`fastgrad.stream`).
    y : array (n,) or (n, k)
        As for `MLP.loss_and_grad`; not given beside batches or a stream.
    theta : array (p,), optional
        Where to start, converted to the network's dtype; ``net.init(seed)`` otherwise.
    optimizer : Optimizer, SecondOrder or str
        Goes on from its state where it has one. By name: "sgd", "momentum", "nesterov", "rmsprop",
        "adam", "adamw", "levenbergmarquardt", "newtoncg" with their defaults; "lbfgs" is SciPy's
        L-BFGS-B (extra ``fastgrad[scipy]``; no checkpoints, no `on_step`). The last three take all
        rows at once, an epoch is a step, and the history's loss is that after it.
    epochs : int
        Passes over the data, in all: a resumed run makes the rest of them.
    batch_size : int, optional
        Rows of a step, 32 unless given; the last step of an epoch has what is left. Not for an
        optimiser that takes all rows at once.
    sample_weight : array (n,), optional
        A batch's loss is sum(s * loss) / sum(s); a batch of zeros is no step. Of any size: only
        ratios count. Weights that vanish in the network's dtype beside the largest are 0.
    validation : (X, y), (X, y, sample_weight) or Stream, optional
        Evaluated after every epoch; a stream that fits in its window is read once. Beside a stream
        to train on: its `held_out`, or one made `like` it.
    seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
        Of the initial parameters and the order of the rows: the same seed gives the same bits, on
        any number of threads. A generator gives the next seed, and goes on.
    shuffle : bool
        New order every epoch; above 2**20 rows in windows of that size.
    patience : int, optional
        Stop after so many epochs without a new lowest validation loss (training loss without
        validation); `best_theta` holds the best parameters.
    min_delta : float
        By how much the loss must fall to be a new lowest.
    callbacks : callable, object or sequence of them
        Each is called with the `FitResult` after an epoch; True in return stops. An object may have
        `on_epoch` and `on_step` instead; `on_step` is called after every step, which then runs by
        itself. An epoch that it stops in the middle is not in the history.
    progress : bool, optional
        None: a bar where standard error is a terminal; True: some lines elsewhere; False: nothing.
    checkpoint : str or path, optional
        Written whole or not at all every `checkpoint_every` epochs and at the end, unless training
        ends within an epoch: then the last one stays. Of a stream also within an epoch, between
        two windows, once a minute has gone by: it holds the position. A file that is there already
        is never replaced, but by the run that it is a checkpoint of.
    resume : bool
        Go on from `checkpoint` where it exists, or else start: the same bits as if never
        interrupted. The network, the optimiser's settings, `batch_size` and the like must be those
        of the checkpoint, `seed` and `theta` too where they are given; of the data only the number
        of rows is compared, of a stream its files, of a schedule of your own nothing.
    threads : int, optional
        The most threads.
    reduce : callable or MPI communicator, optional
        To train on the rows of several processes, which all call `fit` alike, each with X and y of
        its own: a function that is given a float64 array and returns its sum over all ranks, the
        same array in each; or a communicator of mpi4py as it is. See the notes.

    Returns
    -------
    result : FitResult
        Ctrl-C ends training after a whole step and returns what there is (`interrupted`).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, before the first step; the message names it.
    FileExistsError
        If `checkpoint` exists and `resume` is False.

    Warns
    -----
    RuntimeWarning
        If the loss or a parameter became NaN or infinite (`stopped` is "not finite"). `best_theta`
        holds the best parameters before, if an epoch ended well. Also if the validation loss was so
        after every epoch.

    Notes
    -----
    With a sparse X every parameter is updated at every step, as if X were dense: l2, momentum and
    Adam's averages move the weights of columns that do not occur in a batch too. So the result is
    that of the dense X to rounding, and a step costs the memory traffic of all parameters. A lazy
    update, of the columns that occur alone, would be another algorithm, unless there is neither l2
    nor momentum: an absent column's weights would neither decay nor go on moving.

    With `reduce` a step's loss and gradient are those of the rows of all ranks (formula 40), added
    in float64; a batch is `batch_size` rows of each rank, and an epoch ends when the last rank has
    no more: one with fewer rows adds nothing to the steps that are left. `net`, `theta`, `seed`
    (which must be given) and all settings must be the same in all ranks, which is compared; of
    `validation` each has its own rows. Parameters and history are then the same in all ranks, and
    a run ends in all for the same reason: a callback that says stop, Ctrl-C or an error in one ends
    the others too. Sums and products of `sample_weight` over ranks must be finite: its largest is
    2**-40 to 2**40. Streams must take their columns alike (`like` of `fastgrad.stream`), which is
    compared. A checkpoint, at whole epochs, has the same content in all ranks: name one path on a
    shared disk, or, where each has a disk, one path for each. A resumed run must have the files, or
    as many rows, that it had; where `reduce` is a communicator, each rank its own. The bits are
    those of the sums that `reduce` returns, and depend on how rows are dealt out.

    A callback's exception is passed on: the result that it was given stays at a whole step, the
    checkpoint at a whole epoch. Training stops when an epoch's loss is not finite.

    Examples
    --------
    >>> import fastgrad as fg
    >>> X_train, X_test, y_train, y_test = fg.datasets.split(fg.datasets.load_digits(), seed=0)
    >>> net = fg.MLP([64, 32, 10], loss="cross_entropy", dtype="float32")
    >>> result = fg.fit(net, X_train / 16, y_train, epochs=20, seed=0)
    >>> fg.evaluate(net, result.theta, X_test / 16, y_test).score > 0.9
    True
    """
    ranks = None if reduce is None else Ranks(reduce)

    def prepared():
        if ranks is not None:
            _check_ranked(seed, sample_weight, validation)
        if progress is not None:
            check.boolean(progress, "progress")
        return _run(
            net, X, y, theta, optimizer, epochs, batch_size, sample_weight, validation, seed,
            shuffle, patience, min_delta, callbacks, checkpoint, checkpoint_every, resume, threads,
        )  # fmt: skip

    run = prepared() if ranks is None else ranks.do(prepared)
    if ranks is not None:
        run.join(ranks)
    if resume:
        run.restore({name for name, value in (("seed", seed), ("theta", theta)) if value is None})
    with nullcontext() if ranks is None else ranks.told_of_interrupts():
        result = run.train(Progress(progress, run.epochs, run.result.epochs))
    return ended(result)


def _run(
    net, X, y, theta, optimizer, epochs, batch_size, sample_weight, validation, seed, shuffle,
    patience, min_delta, callbacks, checkpoint, checkpoint_every, resume, threads,
) -> Run:  # fmt: skip
    """A run of checked arguments."""
    checked_network(net)
    epochs = check.integer(epochs, "epochs", least=0)
    if batch_size is not None:
        batch_size = check.integer(batch_size, "batch_size")
    checkpoint_every = check.integer(checkpoint_every, "checkpoint_every")
    if patience is not None:
        patience = check.integer(patience, "patience")
    min_delta = check.non_negative(min_delta, "min_delta")
    shuffle, resume = check.boolean(shuffle, "shuffle"), check.boolean(resume, "resume")
    if resume and checkpoint is None:
        raise ValueError("resume is True, but no checkpoint is named; pass checkpoint=path")
    if checkpoint is not None:
        checkpoint = files.check_place(checkpoint, "checkpoint").absolute()
        if not resume:
            store.check_free(checkpoint)
    on_epoch, on_step = hooks_of(callbacks)
    validation = validation_of(net, validation, X)
    sequence = sequence_of(seed)
    theta = start_of(net, theta, sequence)
    optimizer = optimizer_of(optimizer)
    if optimizer is None:
        if checkpoint is not None:
            raise ValueError("checkpoint needs another optimizer: SciPy's L-BFGS cannot resume")
    source = source_of(net, optimizer, X, y, sample_weight, batch_size, shuffle, epochs)
    run = Run(
        net, theta, sequence, optimizer, source, validation, epochs, patience, min_delta, threads
    )
    run.on_epoch, run.on_step = on_epoch, on_step
    rows = BATCH_SIZE if batch_size is None and isinstance(optimizer, Optimizer) else batch_size
    run.settings = {"batch_size": rows, "shuffle": shuffle}
    if checkpoint is not None:
        fixed = {
            "network": store.specification(net), **source.fixed,
            "optimizer": type(optimizer).__name__, "settings": optimizer.settings(),
            "validation": validation is not None,
            "seed": " ".join(map(str, (sequence.entropy, *sequence.spawn_key))),
        }  # fmt: skip
        files.sweep(checkpoint)
        fixed["theta"] = hashlib.sha256(theta.tobytes()).hexdigest()
        run.checkpoint, run.every, run.fixed = checkpoint, checkpoint_every, fixed
    return run


def _check_ranked(seed, sample_weight, validation):
    """What several ranks need more than one does."""
    if seed is None:
        raise ValueError("seed is None; with reduce expected one, the same in all ranks")
    if sample_weight is not None:
        comparable_weights(sample_weight, "sample_weight")
    if isinstance(validation, (tuple, list)) and len(validation) == 3 and validation[2] is not None:
        comparable_weights(validation[2], "validation sample_weight")


def ended(result, name: str = "") -> FitResult:
    """The result, with a warning to the caller of `fit` where numbers went out of range."""
    if result.stopped == "epochs" and not np.isfinite(result.theta).all():
        result.stopped = NOT_FINITE
    if result.stopped == NOT_FINITE:
        kept = result.best_epoch and np.isfinite(result.best_theta).all()
        kept = f" (best_theta is of epoch {result.best_epoch})" if kept else ""
        warnings.warn(
            f"{name}the loss or a parameter is not finite after epoch {result.epochs}, training "
            f"stopped{kept}: look for NaN in X and y, scale them, or lower the learning rate",
            RuntimeWarning,
            stacklevel=3,
        )
    elif result.epochs and not result.best_epoch:
        warnings.warn(
            f"{name}the validation loss was NaN or infinite after every epoch, so best_theta is "
            f"what training began from: look for NaN in validation",
            RuntimeWarning,
            stacklevel=3,
        )
    return result
