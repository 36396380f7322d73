"""One fit: epochs of minibatches or of all rows, what is kept of them, and checkpoints.

An epoch is an order of rows (`batches.py`) and some calls of compiled code that make many steps
each (`stepper.py`); Python comes in between calls, for Ctrl-C, and between epochs, for validation,
callbacks and checkpoints.
"""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import numpy as np

from .. import checkpoint as store
from .. import metrics
from .._core import files
from .._core.csr import Csr
from ..history import History
from ..kernels.sums import rounded_sum
from ..second_order import SecondOrder
from . import rank_rows
from .full_batch import CONVERGED, NOT_FINITE, trainer
from .ranks import PIECES, pieces
from .result import FitResult
from .stepper import NO_LOSS, Stepper

SAVE_SECONDS = 60.0  # between checkpoints within an epoch, where the source can be taken up there


class Position(NamedTuple):
    """Where an epoch is: windows done, the sum of their losses and of what they count."""

    windows: int = 0
    total: tuple = NO_LOSS
    weight: float = 0.0


class Run:
    """One fit, checked."""

    def __init__(
        self, net, theta, sequence, optimizer, source, validation, epochs, patience, min_delta,
        threads,
    ):  # fmt: skip
        """optimizer: of this run alone; None: L-BFGS."""
        if isinstance(optimizer, SecondOrder):
            optimizer.check_network(net)
            if source.sparse and not optimizer._takes_sparse:
                raise TypeError(
                    f"X is sparse; optimizer {type(optimizer).__name__} takes dense rows: use "
                    f"X.toarray()"
                )
        self.net, self.source, self.validation, self.epochs = net, source, validation, epochs
        self.patience, self.min_delta, self.threads = patience, min_delta, threads
        self.sequence, self.rng = sequence, np.random.default_rng(sequence.spawn(1)[0])
        self.result = FitResult(
            theta, theta.copy(), _history(net, validation, optimizer), optimizer
        )
        self.on_epoch, self.on_step = [], []
        self.checkpoint, self.every, self.fixed = None, 1, {}
        self.clock = self.saved = 0.0
        self.position = Position()  # at which an epoch begins
        self.stop = None  # an event: as Ctrl-C, for a fit that does not run in the main thread
        self.ranks = None  # other processes that train the same network
        self.settings = {}  # others of `fit`'s arguments that all ranks must have alike

    def train(self, shown) -> FitResult:
        """Epochs until there is a reason to stop."""
        if self.result.optimizer is None:
            from .lbfgs import fit_lbfgs

            return fit_lbfgs(self, shown)
        result = self.result
        # Makes one and returns its row of the history; None where it ended within, for the reason
        # in `stopped`.
        epoch = trainer(self) if isinstance(result.optimizer, SecondOrder) else self._first_order()
        self.start()
        try:
            while not result.stopped and result.epochs < self.epochs:
                row = epoch()
                if row is None:
                    break
                self.end_epoch(row, shown)
                self._do(self._save)
            if result.stopped == CONVERGED:
                self._do(self._save)
        except KeyboardInterrupt:
            result.stopped = "interrupted"
        finally:
            result.seconds = time.perf_counter() - self.clock
            shown.close()
        result.stopped = result.stopped or "epochs"
        return result

    def join(self, ranks) -> None:
        """Train with other ranks, which must have begun alike."""
        self.ranks, source, result = ranks, self.source, self.result
        optimizer = result.optimizer
        ranks.require_same({
            "net": self.net, "theta": result.theta, "seed": self.sequence.state,
            "optimizer": (type(optimizer).__name__, optimizer and optimizer.state_dict()),
            "epochs": self.epochs, "patience": self.patience, "min_delta": self.min_delta,
            "validation": self.validation is not None, "checkpoint": self.checkpoint is not None,
            "checkpoint_every": self.every, **self.settings,
            "what their files' columns mean (like= makes it the same)": source.fixed.get("columns"),
        })  # fmt: skip
        sums = ranks.total(4 + PIECES, lambda: [
            bool(self.on_step), 1, source.size or 0, getattr(source, "rows", 0) or 0,
            *pieces((ranks.number, source.fixed)),
        ])  # fmt: skip
        ranks.watched = bool(sums[0])
        # A checkpoint is every rank's: it has what is of all together, not what is one's own.
        for name in source.fixed:
            self.fixed.pop(name, None)
        self.fixed.update(zip(("ranks", "rows", "batch_size"), map(int, sums[1:4])))
        self.fixed["parts"] = [int(value) for value in sums[4:]]

    def problem(self):
        """The loss on all rows."""
        if self.ranks is not None:
            return rank_rows.problem(self)
        return self.source.problem(self.threads)

    def says_stop(self, hooks) -> bool:
        """Whether a callback says stop, in any rank."""
        if self.ranks is None:
            return any([hook(self.result) for hook in hooks])
        if hooks is self.on_step and not self.ranks.watched:
            return False
        return self.ranks.any(lambda: any([hook(self.result) for hook in hooks]))

    def _do(self, action):
        return action() if self.ranks is None else self.ranks.do(action)

    def _first_order(self):
        """A function that makes an epoch of steps and returns its row of the history."""
        if self.ranks is not None:
            return rank_rows.trainer(self)
        own = getattr(self.source, "trainer", None)
        return self._passes() if own is None else own(self)

    def look_for_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise KeyboardInterrupt

    def _stepper(self, sparse: bool) -> Stepper:
        result = self.result
        return Stepper(
            self.net, result.theta, result.optimizer, self.source.weighted, self.threads, sparse
        )

    def start(self):
        self.saved = time.perf_counter()
        self.clock = self.saved - self.result.seconds

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
        optimizer, source = self.result.optimizer, self.source
        begun, self.position = self.position, Position()
        generator = self.rng.bit_generator.state
        made, total, weight = begun
        done, where = (made * source.window, (made,)) if made else (0, ())
        epoch = source.epoch(self.result.epochs, self.rng, *where)
        with contextlib.closing(epoch) as windows:
            for x, y, s, order, m in windows:
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
                weight, made = weight + source.weight(s, order), made + 1
                if self._resumes() and done < source.size:
                    self._save_within(Position(made, total, weight), generator)
        if not weight:
            raise ValueError("there are no rows that count in this epoch; expected at least one")
        return rounded_sum(*total) / weight

    def _resumes(self) -> bool:
        """Whether an epoch can be taken up in its middle."""
        return getattr(self.source, "resumes", False)

    def end_epoch(self, row: dict, shown) -> None:
        """Validation, history, the best so far, callbacks."""
        result = self.result
        watched = loss = row["loss"]
        if self.validation is not None:
            over = {} if self.ranks is None else {"total": self.ranks.total}
            if metrics.is_stream(self.validation):
                scores = metrics.evaluate_stream(
                    self.net, result.theta, self.validation, self.threads, **over
                )
            else:
                scores = metrics.evaluate_checked(
                    self.net, result.theta, *self.validation, threads=self.threads, **over
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
        if self.ranks is not None:
            self.ranks.require_same({"theta, so reduce returns different sums": result.theta})
        if self.says_stop(self.on_epoch):
            result.stopped = "callback"

    def _save(self) -> None:
        result = self.result
        if self.checkpoint is None:
            return
        last = result.stopped or result.epochs >= self.epochs
        if not last and result.epochs % self.every:
            return
        self._write(self.rng.bit_generator.state, result.seconds)

    def _save_within(self, position: Position, generator: dict) -> None:
        """In the middle of an epoch, for which `generator` was the state of the generator."""
        now = time.perf_counter()
        if self.checkpoint is None or now - self.saved < SAVE_SECONDS:
            return
        total, lost = map(float, position.total)
        place = {
            "windows": position.windows, "total": [total, lost], "weight": float(position.weight),
        }  # fmt: skip
        self._write(generator, now - self.clock, {"position": place})

    def _write(self, generator: dict, seconds: float, more=()) -> None:
        result = self.result
        run = {
            **self.fixed, "epoch": result.epochs, "best_epoch": result.best_epoch,
            "best": result._best, "waited": result._waited, "seconds": seconds, **dict(more),
        }  # fmt: skip
        store.save_checkpoint(
            self.checkpoint,
            store.Checkpoint(
                self.net, result.theta, result.best_theta, result.optimizer.state_dict(),
                result.history, generator, run,
            ),
        )  # fmt: skip
        self.saved = time.perf_counter()

    def restore(self, unsaid) -> None:
        """Go on from the checkpoint, if there is one and it is of the same run.

        What `unsaid` names was not given, so it is the checkpoint's.
        """
        self._do(lambda: self._restore(unsaid))
        if self.ranks is not None:
            result = self.result
            self.ranks.require_same({"their checkpoints": (result.epochs, result.theta.tobytes())})

    def _restore(self, unsaid) -> None:
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
        if "position" in saved.run:
            place = saved.run["position"]
            most = (self.source.size - 1) // self.source.window if self._resumes() else 0
            if place["windows"] > most:
                error = f"run.position.windows is {place['windows']}; expected at most {most}"
                raise files.damaged(self.checkpoint, "checkpoint", error)
            self.position = Position(**{**place, "total": tuple(place["total"])})
        if result.epochs and not np.isfinite(result.history.loss[-1]):
            result.stopped = NOT_FINITE
        elif self.patience is not None and result._waited >= self.patience:
            result.stopped = "patience"


def _difference(name: str, theirs, ours) -> str:
    """In words, of dictionaries the entries alone that differ."""
    if name == "theta":
        return "it began with another theta"
    if name == "columns":
        return "the files' columns are understood otherwise"
    if name == "parts":
        return "the ranks have other data, or take them otherwise"
    if name == "files" and isinstance(theirs, list):
        odd = [mark for mark in ours if mark not in theirs] or ours
        lost = [mark for mark in theirs if mark not in ours] or theirs
        word = next((o for o, t in zip(ours, theirs) if o != t), odd[0]).split()[0]
        also = f", {lost[0].split()[0]} is gone" if len(lost) < len(theirs) else ""
        return f"the file {word} is another one, or was changed{also}"
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return f"its {name} is {theirs!r}, this one's {ours!r}"
    keys = [key for key in ours if theirs.get(key) != ours[key]]
    return "; ".join(_difference(f"{name} {key}", theirs.get(key), ours[key]) for key in keys)


def _history(net, validation, optimizer=None) -> History:
    names = ["loss", "learning_rate", *getattr(optimizer, "columns", ())]
    if validation is not None:
        names += ["val_loss", f"val_{metrics.score_name(net)}"]
    return History({name: [] for name in [*names, "seconds"]})
