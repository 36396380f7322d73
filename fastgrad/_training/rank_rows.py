"""The rows of one rank, whose sums meet those of the other ranks.

A step's batch is `batch_size` rows of each rank. An epoch is over when the last rank has come to
the end of its rows; ranks that are there before add nothing to the steps that are left.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from .summed import GRADIENT, Summed, part, passes, total_of, width, without_l2


def problem(run) -> Summed:
    """The loss on all rows of all ranks."""
    net, source = run.net, run.source

    def whole():
        yield source.all()

    own = total_of(net, getattr(source, "blocks", whole), run.threads)

    def total(kind, theta, v=None):
        return run.ranks.total(width(net, kind), lambda: own(kind, theta, v))

    return Summed(net, total)


def trainer(run):
    """A function that makes an epoch of first-order steps."""
    net = without_l2(run.net)
    size = width(net, GRADIENT)

    def steps(epoch: int):
        with closing(_batches(run, epoch)) as batches:
            yield from totals(batches)

    def totals(batches):
        waiting = []

        def message(theta):
            """The part of the next batch, and whether there is another one after it."""
            if not waiting:
                waiting.append(next(batches, None))
            batch = waiting.pop()
            following = batch and next(batches, None)
            waiting.append(following)
            out = np.zeros(1 + size)
            out[0] = following is not None
            made = batch and part(net, GRADIENT, theta, *batch, None, run.threads)
            if made is not None:
                out[1:] = made
            return out

        more = True
        while more:

            def total(theta):
                nonlocal more
                sums = run.ranks.total(1 + size, lambda: message(theta))
                more = bool(sums[0])
                return sums[1:]

            yield total

    return passes(run, Summed(run.net, None), steps)


def _batches(run, epoch: int):
    """(x, y, s) of each batch of this rank; the order of its rows is the seed's and the epoch's."""
    net, root = run.net, run.sequence
    key = (*root.spawn_key, 0, epoch)
    rng = np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=key))
    for x, y, s, order, m in run.source.epoch(epoch, rng):
        y = y if net.spec.loss.labelled else y.reshape(x.shape[0], -1)
        for first in range(0, order.size, m):
            rows = order[first : first + m]
            yield x[rows], y[rows], None if s is None else s[rows]
