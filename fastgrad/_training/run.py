"""One fit: epochs of minibatches or of all rows, what is kept of them, and checkpoints.

An epoch is an order of rows (`batches.py`) and some calls of compiled code that make many steps
each (`stepper.py`); Python comes in between calls, for Ctrl-C, and between epochs, for validation,
callbacks and checkpoints.
"""

from __future__ import annotations

import time

import numpy as np

from .. import checkpoint as store
from .. import metrics
from .._core import files
from .._core.csr import Csr
from ..history import History
from ..kernels.sums import rounded_sum
from ..second_order import SecondOrder
from .full_batch import CONVERGED, NOT_FINITE, trainer
from .result import FitResult
from .stepper import NO_LOSS, Stepper


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
            from .lbfgs import fit_lbfgs

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
