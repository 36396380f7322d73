"""Sums over the partitions: what one worker adds of them, and what the client makes of it."""

from __future__ import annotations

import math

import dask
import numpy as np

from ..._training.pairwise import PairwiseSum
from ..._training.summed import GRADIENT, Summed, passes, without_l2
from .engines import worker_threads
from .partitions import Batch, described, gathered, prepared, triples


class Shard:
    """The partitions that one worker has, and the network that they are for."""

    def __init__(self, net, count: int, parts: list):
        """`count`: partitions of all workers; `parts`: (index, partition) of these."""
        self.net, self.count, self.parts = net, count, parts

    def __sizeof__(self) -> int:
        return 64 + sum(part.__sizeof__() for _, part in self.parts)


def added(shard: Shard, theta, kind: str, v, batch) -> dict:
    """The sums of a shard's partitions, as far as they are neighbours."""
    sums, threads = PairwiseSum(shard.count), worker_threads()
    for index, part in shard.parts:
        sums.add(part.add(shard.net, kind, theta, v, batch, index, threads), index)
    return sums.nodes


def shard(indices: list, parts: list, net, count: int) -> Shard:
    """Made where its partitions are."""
    return Shard(net, count, list(zip(indices, parts)))


def gathered_rows(at, X, y, sample_weight) -> list:
    """The partitions as they came, each in one place."""
    make = dask.delayed(gathered, pure=False)
    given = triples(X, y, sample_weight)
    return at.hold([make(*three) for three in given])


class PartedRows:
    """Rows on a cluster, checked once: sums over them, and a source for `fit`."""

    sparse = False  # as far as the client is concerned

    def __init__(self, net, at, rows: list):
        """`rows`: partitions as `gathered_rows` has them."""
        self.net, self._at = net, at
        parts = at.map(prepared, rows, net)
        facts = at.fetch(at.map(described, parts))
        kept = [number for number, (n, *_) in enumerate(facts) if n]  # what is empty adds nothing
        if not kept:
            raise ValueError("X has no rows in any partition; expected at least one")
        self.size = sum(n for n, *_ in facts)
        self.weighted = any(given for *_, given in facts)
        self.total_weight = math.fsum(weight for _, weight, _ in facts)
        if self.total_weight == 0:
            raise ValueError("sample_weight is zero everywhere; at least one row must count")
        # From here on the shards alone hold the partitions.
        parts = [parts[number] for number in kept]
        self._shards = at.shards(shard, parts, kept, without_l2(net), len(kept))
        self._count = len(kept)

    def total(self, kind: str, theta, v=None, batch=None) -> np.ndarray:
        """The sum of all partitions' parts."""
        sums = PairwiseSum(self._count)
        for nodes in self._at.each_shard(self._shards, added, theta, kind, v, batch):
            sums.merge(nodes)
        total = sums.result()
        return np.zeros(2) if total is None else total

    def summed(self) -> Summed:
        return Summed(self.net, self.total)


class DaskSource(PartedRows):
    """A source of `fit`: batches of equal shares of the partitions."""

    def __init__(self, net, at, rows, batch_size: int | None, shuffle: bool):
        super().__init__(net, at, rows)
        self.rows = self.size if batch_size is None else min(batch_size, self.size)
        self._shuffle = shuffle
        self.fixed = {
            "rows": self.size, "batch_size": self.rows, "shuffle": shuffle,
            "partitions": self._count, "weighted": self.weighted,
        }  # fmt: skip

    def problem(self, threads) -> Summed:
        return self.summed()

    def trainer(self, run):
        """First-order steps of a run."""
        steps = -(-self.size // self.rows)
        seed = tuple(map(int, run.sequence.generate_state(4))) if self._shuffle else None

        def batches(epoch: int):
            for step in range(steps):
                batch = Batch(epoch, step, steps, seed)
                yield lambda theta, batch=batch: self.total(GRADIENT, theta, None, batch)

        return passes(run, self.summed(), batches)
