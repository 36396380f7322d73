"""Training: `fit`, from arrays and an optimiser to parameters and what happened.

check -> epochs -> result. An epoch is an order of rows (`_core/batches.py`) and some calls of
compiled code that make many steps each (`_core/stepper.py`); Python comes in between calls, for
Ctrl-C, and between epochs, for validation, callbacks and checkpoints.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from . import checkpoint as store
from . import metrics
from ._core import check, files
from ._core.calls import checked_network
from ._core.csr import Csr
from ._core.full_batch import CONVERGED, NOT_FINITE, trainer
from ._core.progress import Progress
from ._core.sources import Arrays, Batches
from ._core.stepper import NO_LOSS, Stepper
from .history import History
from .kernels.sums import rounded_sum
from .network import MLP
from .optimizers import Optimizer, get_optimizer
from .second_order import SecondOrder

__all__ = ["FitResult", "fit"]

BATCH_SIZE = 32  # unless another is given


@dataclass(eq=False)
class FitResult:
    """What `fit` returns, and what callbacks are given while it grows.

    Attributes
    ----------
    theta : ndarray (p,)
        Parameters after the last step. In a callback it is live: copy it to keep it.
    best_theta : ndarray (p,)
        Parameters after the epoch of the lowest validation loss (without validation: of the lowest
        training loss).
    history : History
    optimizer : Optimizer or SecondOrder
        With its state: give it and `theta` to `fit` to go on.
    best_epoch : int
        Counted from 1; 0 before the first epoch.
    seconds : float
        Of training, from the first step on.
    stopped : str
        Why it ended: "epochs" (all done), "patience", "callback", "interrupted" (Ctrl-C), "not
        finite" (the loss or a parameter became NaN or infinite). L-BFGS, `LevenbergMarquardt` and
        `NewtonCG`: "converged"; L-BFGS: "line search" (which found no lower loss), "evaluations"
        (of the loss: 20 an epoch).

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> result = fg.fit(fg.MLP([1, 1]), np.ones((8, 1)), np.ones(8), epochs=3, seed=0)
    >>> result.stopped, len(result.history)
    ('epochs', 3)
    """

    theta: np.ndarray
    best_theta: np.ndarray
    history: History
    optimizer: Optimizer | SecondOrder | None
    best_epoch: int = 0
    seconds: float = 0.0
    stopped: str = ""
    _best: float = field(default=np.inf, repr=False)
    _waited: int = field(default=0, repr=False)

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it, at a whole step."""
        return self.stopped == "interrupted"


def fit(
    net: MLP,
    X,
    y=None,
    *,
    theta=None,
    optimizer="adam",
    epochs: int = 20,
    batch_size: int | None = None,
    sample_weight=None,
    validation=None,
    seed=None,
    shuffle: bool = True,
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks=(),
    progress: bool | None = None,
    checkpoint=None,
    checkpoint_every: int = 1,
    resume: bool = False,
    threads: int | None = None,
) -> FitResult:
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
        if it takes an argument), or an object that can be iterated once an epoch.
    y : array (n,) or (n, k)
        As for `MLP.loss_and_grad`; not given beside batches.
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
    validation : (X, y) or (X, y, sample_weight), optional
        Evaluated after every epoch.
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
        ends within an epoch: then the last one stays. A file that is there already is never
        replaced, but by the run that it is a checkpoint of.
    resume : bool
        Go on from `checkpoint` where it exists, or else start: the same bits as if never
        interrupted. The network, the optimiser's settings, `batch_size` and the like must be those
        of the checkpoint, `seed` and `theta` too where they are given; of the data only the number
        of rows is compared, of a schedule of your own nothing.
    threads : int, optional
        The most threads.

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
    checked_network(net)
    epochs = check.integer(epochs, "epochs", least=0)
    rows = check.integer(BATCH_SIZE if batch_size is None else batch_size, "batch_size")
    checkpoint_every = check.integer(checkpoint_every, "checkpoint_every")
    if patience is not None:
        patience = check.integer(patience, "patience")
    min_delta = check.non_negative(min_delta, "min_delta")
    shuffle, resume = check.boolean(shuffle, "shuffle"), check.boolean(resume, "resume")
    progress = None if progress is None else check.boolean(progress, "progress")
    if resume and checkpoint is None:
        raise ValueError("resume is True, but no checkpoint is named; pass checkpoint=path")
    if checkpoint is not None:
        checkpoint = files.check_place(checkpoint, "checkpoint").absolute()
        if not resume:
            store.check_free(checkpoint)
    on_epoch, on_step = _hooks(callbacks)
    validation = _validation(net, validation)
    unsaid = {name for name, value in (("seed", seed), ("theta", theta)) if value is None}
    sequence = _seed(seed)
    theta = _start(net, theta, sequence)
    optimizer = _optimizer(optimizer)
    if optimizer is None:
        if checkpoint is not None:
            raise ValueError("checkpoint needs another optimizer: SciPy's L-BFGS cannot resume")
        if y is None:
            raise TypeError("optimizer 'lbfgs' takes all rows at once; expected arrays X and y")
    if isinstance(optimizer, SecondOrder):
        source = _all_rows(net, optimizer, X, y, sample_weight, batch_size)
    elif y is None:
        if sample_weight is not None:
            raise TypeError("sample_weight is given beside batches; expected (X, y, sample_weight)")
        source = Batches(net, X, epochs)
    else:
        source = Arrays(net, X, y, sample_weight, rows, shuffle)
    run = Run(
        net, theta, sequence, optimizer, source, validation, epochs, patience, min_delta, threads
    )
    run.on_epoch, run.on_step = on_epoch, on_step
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
        if resume:
            run.restore(unsaid)
    return ended(run.train(Progress(progress, epochs, run.result.epochs)))


def _all_rows(net, optimizer, X, y, sample_weight, batch_size) -> Arrays:
    """The rows for an optimiser that takes them all at once."""
    name = type(optimizer).__name__
    if y is None:
        raise TypeError(f"optimizer {name} takes all rows at once; expected arrays X and y")
    if batch_size is not None:
        refuse_batches(optimizer, batch_size)
    return Arrays(net, X, y, sample_weight, np.iinfo(np.int64).max, False)


def refuse_batches(optimizer, batch_size):
    raise ValueError(
        f"batch_size is {batch_size}, and optimizer {type(optimizer).__name__} takes all rows at "
        f"once; expected none"
    )


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


class Run:
    """One fit, checked."""

    def __init__(
        self, net, theta, sequence, optimizer, source, validation, epochs, patience, min_delta,
        threads,
    ):  # fmt: skip
        """optimizer: of this run alone; None: L-BFGS."""
        if isinstance(optimizer, SecondOrder):
            optimizer.check_network(net)
            if source.sparse:
                raise TypeError(
                    f"X is sparse; optimizer {type(optimizer).__name__} takes dense rows: use "
                    f"X.toarray()"
                )
        self.net, self.source, self.validation, self.epochs = net, source, validation, epochs
        self.patience, self.min_delta, self.threads = patience, min_delta, threads
        self.rng = np.random.default_rng(sequence.spawn(1)[0])
        self.result = FitResult(
            theta, theta.copy(), _history(net, validation, optimizer), optimizer
        )
        self.on_epoch, self.on_step = [], []
        self.checkpoint, self.every, self.fixed = None, 1, {}
        self.clock = 0.0
        self.stop = None  # an event: as Ctrl-C, for a fit that does not run in the main thread

    def train(self, shown) -> FitResult:
        """Epochs until there is a reason to stop."""
        if self.result.optimizer is None:
            from ._core.lbfgs import fit_lbfgs

            return fit_lbfgs(self, shown)
        result = self.result
        # Makes one and returns its row of the history; None where it ended within, for the reason
        # in `stopped`.
        epoch = trainer(self) if isinstance(result.optimizer, SecondOrder) else self._passes()
        self.start()
        try:
            while not result.stopped and result.epochs < self.epochs:
                row = epoch()
                if row is None:
                    break
                self.end_epoch(row, shown)
                self._save()
            if result.stopped == CONVERGED:
                self._save()
        except KeyboardInterrupt:
            result.stopped = "interrupted"
        finally:
            result.seconds = time.perf_counter() - self.clock
            shown.close()
        result.stopped = result.stopped or "epochs"
        return result

    def look_for_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise KeyboardInterrupt

    def _stepper(self, sparse: bool) -> Stepper:
        result = self.result
        return Stepper(
            self.net, result.theta, result.optimizer, self.source.weighted, self.threads, sparse
        )

    def start(self):
        self.clock = time.perf_counter() - self.result.seconds

    def _passes(self):
        """A function that makes a pass over the data in minibatches."""
        result, stepper = self.result, self._stepper(self.source.sparse)

        def epoch():
            loss = self._epoch(stepper)
            if loss is None:  # a callback after a step said stop
                return None
            last = result.optimizer.steps - 1
            return {"loss": loss, "learning_rate": result.optimizer.rate(max(0, last))}

        return epoch

    def _epoch(self, stepper):
        """All steps of an epoch; the mean loss, or None if a callback stopped it before its end."""
        total, weight, done, optimizer = NO_LOSS, 0.0, 0, self.result.optimizer
        source = self.source
        for x, y, s, order, m in source.epoch(self.result.epochs, self.rng):
            if stepper.sparse != (type(x) is Csr):
                stepper = self._stepper(not stepper.sparse)
            rows = m if self.on_step else m * stepper.steps_per_call(m)
            for first in range(0, order.size, rows):
                self.look_for_stop()
                steps, done = optimizer.steps, done + min(rows, order.size - first)
                total = stepper.run(total, x, y, s, order[first : first + rows], m)
                if not self.on_step or optimizer.steps == steps:
                    continue
                if any([hook(self.result) for hook in self.on_step]):
                    self.result.stopped = "callback"
                    if done != source.size:
                        return None
            weight += source.weight(s, order)
        if not weight:
            raise ValueError("there are no rows that count in this epoch; expected at least one")
        return rounded_sum(*total) / weight

    def end_epoch(self, row: dict, shown) -> None:
        """Validation, history, the best so far, callbacks."""
        result = self.result
        watched = loss = row["loss"]
        if self.validation is not None:
            scores = metrics.evaluate_checked(
                self.net, result.theta, *self.validation, threads=self.threads
            )
            watched = row["val_loss"] = scores.loss
            row[f"val_{metrics.score_name(self.net)}"] = scores.score
        result.seconds = time.perf_counter() - self.clock
        result.history.append(**row, seconds=result.seconds)
        if watched < result._best - (self.min_delta if result.best_epoch else 0.0):
            result._best, result._waited, result.best_epoch = watched, 0, result.epochs
            result.best_theta[...] = result.theta
        else:
            result._waited += 1
        shown.epoch(result.epochs, result.history)
        if not np.isfinite(loss):
            result.stopped = NOT_FINITE
        elif self.patience is not None and result._waited >= self.patience:
            result.stopped = "patience"
        if any([hook(result) for hook in self.on_epoch]):
            result.stopped = "callback"

    def _save(self) -> None:
        result = self.result
        if self.checkpoint is None:
            return
        last = result.stopped or result.epochs >= self.epochs
        if not last and result.epochs % self.every:
            return
        run = {
            **self.fixed, "epoch": result.epochs, "best_epoch": result.best_epoch,
            "best": result._best, "waited": result._waited, "seconds": result.seconds,
        }  # fmt: skip
        store.save_checkpoint(
            self.checkpoint,
            store.Checkpoint(
                self.net, result.theta, result.best_theta, result.optimizer.state_dict(),
                result.history, self.rng.bit_generator.state, run,
            ),
        )  # fmt: skip

    def restore(self, unsaid) -> None:
        """Go on from the checkpoint, if there is one and it is of the same run.

        What `unsaid` names was not given, so it is the checkpoint's.
        """
        try:
            saved = store.load_checkpoint(self.checkpoint)
        except FileNotFoundError:
            return
        self.fixed.update({name: saved.run.get(name) for name in unsaid})
        for name, value in self.fixed.items():
            if saved.run.get(name) != value:
                raise ValueError(
                    f"{self.checkpoint} is of another run: "
                    f"{_difference(name, saved.run.get(name), value)}"
                )
        result = self.result
        if saved.history.columns != result.history.columns:
            theirs, ours = ", ".join(saved.history.columns), ", ".join(result.history.columns)
            raise ValueError(
                f"{self.checkpoint} is of another run: its history has {theirs}, this one's {ours}"
            )
        try:
            result.optimizer.load_state_dict(saved.optimizer)
        except ValueError as error:
            raise files.damaged(self.checkpoint, "checkpoint", error) from None
        result.theta[...] = saved.theta
        result.best_theta[...] = saved.best_theta
        result.history = saved.history
        result.best_epoch, result._best = saved.run["best_epoch"], saved.run["best"]
        result._waited, result.seconds = saved.run["waited"], saved.run["seconds"]
        self.rng.bit_generator.state = saved.generator
        if result.epochs and not np.isfinite(result.history.loss[-1]):
            result.stopped = NOT_FINITE
        elif self.patience is not None and result._waited >= self.patience:
            result.stopped = "patience"


def _difference(name: str, theirs, ours) -> str:
    """In words, of dictionaries the entries alone that differ."""
    if name == "theta":
        return "it began with another theta"
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return f"its {name} is {theirs!r}, this one's {ours!r}"
    keys = [key for key in ours if theirs.get(key) != ours[key]]
    return "; ".join(_difference(f"{name} {key}", theirs.get(key), ours[key]) for key in keys)


def _history(net, validation, optimizer=None) -> History:
    names = ["loss", "learning_rate", *getattr(optimizer, "columns", ())]
    if validation is not None:
        names += ["val_loss", f"val_{metrics.score_name(net)}"]
    return History({name: [] for name in [*names, "seconds"]})


def _optimizer(value) -> Optimizer | None:
    """A copy; None for L-BFGS."""
    if isinstance(value, str) and value.lower() == "lbfgs":
        return None
    return get_optimizer(value).copy()


def _start(net, theta, sequence) -> np.ndarray:
    if theta is None:
        return net.init(sequence)
    theta = metrics._converted(theta, "theta", net.dtype)
    return np.array(check.vector(theta, "theta", net.dtype, net.n_parameters, ": one flat vector"))


def _seed(seed) -> np.random.SeedSequence:
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4).tolist())
    return np.random.SeedSequence(None if seed is None else check.integer(seed, "seed", least=0))


def _validation(net, validation):
    if validation is None:
        return None
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise TypeError(
            f"validation is a {type(validation).__name__}; expected a pair (X, y) or a triple "
            f"(X, y, sample_weight)"
        )
    X = metrics.inputs(validation[0], "validation X", net)
    weight = validation[2] if len(validation) == 3 else None
    return X, *metrics.targets(net, X.shape[0], validation[1], weight, "validation ")


def _hooks(callbacks):
    """(after an epoch, after a step) of one callback or several."""
    if callable(callbacks) or hasattr(callbacks, "on_epoch") or hasattr(callbacks, "on_step"):
        callbacks = [callbacks]
    elif not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks is {callbacks!r}; expected something to call, or a sequence")
    on_epoch, on_step = [], []
    for callback in callbacks:
        own = [getattr(callback, name, None) for name in ("on_epoch", "on_step")]
        if own == [None, None]:
            if not callable(callback):
                raise TypeError(f"callbacks has {callback!r}; expected something to call")
            own[0] = callback
        on_epoch += own[:1] if own[0] else []
        on_step += own[1:] if own[1] else []
    return on_epoch, on_step
