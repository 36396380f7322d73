"""Minibatch steps of one network and one optimiser: any number of them in one compiled call."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..kernels import layout as at
from ..kernels.network import step, step_parallel
from ..kernels.training import address_of, train_steps
from ..runtime import launch

CALL_SECONDS = 0.05  # so long may Ctrl-C wait for the end of a call
_STEP_SECONDS, _FLOPS_PER_SECOND = 5e-6, 4e10  # rough, for the above


class Stepper:
    """Updates `theta` in place; holds the buffers for it."""

    def __init__(self, net, theta, optimizer, weighted: bool, threads: int | None, rows: int = 1):
        self.net, self.theta, self.optimizer = net, theta, optimizer
        self.weighted, self.threads = weighted, threads
        self.gradient = np.empty_like(theta)
        self._state, self._hyper = optimizer.prepare(theta.size, theta.dtype)
        self._outputs = 1 if net.loss_name == "cross_entropy" else net.n_outputs
        self._label_type = np.dtype(np.int64) if net.loss_name == "cross_entropy" else net.dtype
        self._buffers: dict = {}
        self._addresses: dict = {}
        self._flops = 6 * sum(d * k for d, k in pairwise(net.layer_sizes))
        self._compile(rows)

    def _compile(self, rows: int):
        """All kernels that batches of so many rows need, before any clock runs."""
        args = (self.theta, self.gradient, self._state, self._hyper)
        self._update = address_of(self.optimizer.kernel, args)
        x, y, s = self._batch(1)
        self.run(x, y, s, np.zeros(1, np.int32), 0, 1, 0)
        if self.net._plan(rows, at.GRADIENT, self.weighted).parallel:
            self._address(step_parallel)

    def _address(self, kernel) -> int:
        address = self._addresses.get(kernel)
        if address is None:
            x, y, s = self._batch(1)
            plan = self.net._plan(1, at.GRADIENT, self.weighted)
            buffers = plan.acquire()
            theta = self.theta
            address = self._addresses[kernel] = address_of(
                kernel,
                (theta, theta, x, y, s, self.gradient, self.net._nothing, *buffers, plan.vector),
            )
        return address

    def _batch(self, m: int):
        """Contiguous buffers of m rows."""
        batch = self._buffers.get(m)
        if batch is None:
            if len(self._buffers) >= 4:
                self._buffers.clear()
            batch = self._buffers[m] = (
                np.empty((m, self.net.n_inputs), self.net.dtype),
                np.zeros(m * self._outputs, self._label_type),
                np.empty(m, self.net.dtype) if self.weighted else self.net._nothing,
            )
        return batch

    def _serial(self, *args):
        return train_steps(self._address(step), *args)

    def _parallel(self, *args):
        return train_steps(self._address(step_parallel), *args)

    def steps_per_call(self, m: int) -> int:
        seconds = _STEP_SECONDS + self._flops * m / _FLOPS_PER_SECOND
        return max(1, int(CALL_SECONDS / seconds))

    def run(self, x, y, s, order, first: int, m: int, count: int) -> float:
        """`count` steps of m rows each, from order[first] on; the sum of loss * weight."""
        rates = self.optimizer.rates(count)
        plan = self.net._plan(m, at.GRADIENT, self.weighted)
        buffers = plan.acquire()
        try:
            return launch(
                self._serial, self._parallel, plan.parallel, self.threads,
                (self._update, self.theta, self.gradient, self._state, self._hyper, rates,
                 x, y, s, self.weighted, order, first, count, *self._batch(m),
                 self.net._nothing, *buffers, plan.vector),
            )  # fmt: skip
        finally:
            plan.release(buffers)
