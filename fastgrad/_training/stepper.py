"""Minibatch steps of one network and one optimiser: any number of them in one compiled call."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

from .._core.choice import TrainingChoice
from .._core.csr import Csr, bound_batches
from .._core.threads import bound, launch, max_threads
from ..kernels import records as at
from ..kernels import tuning
from ..kernels.calls import address_of
from ..kernels.jit import place_of
from ..kernels.optimizers import SIZE
from ..kernels.training import RESULTS, train_steps, train_steps_parallel

NO_LOSS = (0.0, 0.0)  # to begin a running total with
_choices: dict[
    tuple, TrainingChoice
] = {}  # by shape, for the whole process: short fits learn from others
_MOST_CHOICES = 256


class Stepper:
    """Updates `theta` in place; holds the buffers for it."""

    def __init__(
        self, net, theta, optimizer, weighted: bool, threads: int | None, sparse: bool = False
    ):
        self.net, self.theta, self.optimizer = net, theta, optimizer
        self.weighted, self.threads, self.sparse = weighted, threads, sparse
        self.gradient = np.empty_like(theta)
        self._state, self._hyper = self._prepared()
        labelled = net.spec.loss.labelled
        self._targets = (1, np.dtype(np.int64)) if labelled else (net.n_outputs, net.dtype)
        self._buffers: dict = {}
        self._hypers = np.zeros((max_threads(), SIZE))
        self._parallel_code = ""
        self._flops = 6 * sum(d * k for d, k in pairwise(net.layer_sizes))
        self._compile()

    def _prepared(self):
        """The optimiser's state and numbers as they are now: a callback may have changed them."""
        return self.optimizer.prepare(self.theta.size, self.theta.dtype)

    def _compile(self):
        """All serial kernels, before any clock runs."""
        args = (self.theta, self.gradient, self._state, self._hyper)
        self._update = address_of(self.optimizer.kernel, args)
        x, y, s = self._batch(1)
        if self.sparse:
            x = Csr.of_no_entries(1, self.net.n_inputs, self.net.dtype)
        self._call(False, NO_LOSS, x, y, s, np.zeros(0, np.int64), 1)

    def compile_parallel(self, x, y, s, m: int):
        """The parallel kernel, for data of these types; m rows are worth threads."""
        self._call(True, NO_LOSS, x, y, s, np.zeros(0, np.int64), m)
        self._parallel_code = "memory"

    def _batch(self, m: int):
        """Contiguous buffers of m rows."""
        batch = self._buffers.get(m)
        if batch is None:
            if len(self._buffers) >= 4:
                self._buffers.clear()
            batch = self._buffers[m] = (
                np.empty((m, 0 if self.sparse else self.net.n_inputs), self.net.dtype),
                np.zeros(m * self._targets[0], self._targets[1]),
                np.empty(m, self.net.dtype) if self.weighted else None,
            )
        return batch

    def steps_per_call(self, m: int) -> int:
        seconds = tuning.STEP_SECONDS + self._flops * m / tuning.FLOPS_PER_SECOND
        return max(1, int(tuning.CALL_SECONDS / seconds))

    def run(self, total: tuple, x, y, s, order, m: int) -> tuple:
        """Batches of m of the rows in `order`, the last one maybe of fewer; `total` plus their
        losses, a pair as `sums.add_exactly` has it."""
        if not self._plan(m).parallel or bound(self.threads) == 1:
            return self._call(False, total, x, y, s, order, m)
        chosen = self._choice(m)
        if not self._parallel_code:
            self._parallel_code = self._place(x, y, s, m)
        if order.size >= m and chosen.due(tuning.TRIAL_AFTER[self._parallel_code]):
            if self._parallel_code != "memory":
                self.compile_parallel(x, y, s, m)
            took, whole = [], 0.0
            while order.size >= m and len(took) < 2 and not chosen.hopeless(took):
                tried = order[
                    : m * (tuning.TRIAL_STEPS if took else 1)
                ]  # the first wakes the threads
                began = time.perf_counter()
                total = self._call(not chosen.parallel, total, x, y, s, tried, m)
                seconds = time.perf_counter() - began
                took.append(seconds * m / tried.size)
                whole, order = whole + seconds, order[tried.size :]
            chosen.tried(min(took), whole)
        if order.size:
            began = time.perf_counter()
            total = self._call(chosen.parallel, total, x, y, s, order, m)
            if order.size >= m:  # a last batch tells nothing of a whole one
                chosen.ran(time.perf_counter() - began, order.size / m)
        return total

    def _choice(self, m: int) -> TrainingChoice:
        net = self.net
        spec = net.spec
        network = spec.layer_sizes, spec.loss, spec.activation, spec.dtype
        key = network, self.weighted, m, self.threads, self.sparse
        if len(_choices) >= _MOST_CHOICES:
            _choices.clear()
        return _choices.setdefault(key, TrainingChoice())

    def _plan(self, m: int):
        return self.net._plan(m, at.LOSS | at.GRADIENT, self.weighted, self.sparse)

    def _place(self, x, y, s, m: int) -> str:
        """Where the parallel kernel's code is."""
        buffer, order = np.zeros(1), np.zeros(0, np.int64)
        with bound_batches(self._plan(m), self._plan(m), x, order) as rows:
            args = self._arguments(NO_LOSS, rows, y, s, order, m, buffer, buffer)
        return place_of(train_steps_parallel, args)

    def _arguments(self, total, x, y, s, order, m, buffer, last_buffer) -> tuple:
        """Of `train_steps` and its parallel twin."""
        count = -(-order.size // m)
        return (
            self._update, total, self.theta, self.gradient, self._state, self._hyper,
            self.optimizer.rates(count), x, y, s,
            order.astype(np.int64, copy=False), *self._batch(m), buffer, last_buffer,
            np.empty((count, RESULTS)), self._hypers,
        )  # fmt: skip

    def _call(self, parallel: bool, total, x, y, s, order, m) -> tuple:
        """One compiled call; two where the last batch is too small for threads."""
        last = order.size % m
        if parallel and last and not self._plan(last).parallel:
            whole = order[: order.size - last]
            total = self._call(True, total, x, y, s, whole, m) if whole.size else total
            parallel, order = False, order[whole.size :]
        self._state, self._hyper = self._prepared()
        plans = [self._plan(m), self._plan(last)] if last else [self._plan(m)]
        buffers = [plan.lease() for plan in plans]
        try:
            with bound_batches(plans[0], plans[-1], x, order) as rows:
                args = self._arguments(total, rows, y, s, order, m, buffers[0], buffers[-1])
                parallel = parallel and plans[0].parallel
                return launch(train_steps, train_steps_parallel, parallel, self.threads, args)
        finally:
            for plan, buffer in zip(plans, buffers):
                plan.free.append(buffer)
