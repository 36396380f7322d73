"""Who computes: the workers of a cluster, or this process.

Both hold values that belong to partitions, apply a function to each of them, and to all that one
worker has in one task (`each_shard`).
"""

from __future__ import annotations

import time
from asyncio import TimeoutError as WaitEnded  # its own class in Python 3.10
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import dask
from dask.base import get_scheduler
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.optimization import cull
from distributed import CancelledError, Client, KilledWorker, get_worker, wait

from ..._core.threads import max_threads

POLL = 2.0  # seconds between looks at whether there are workers
WITHOUT_WORKERS = 30.0  # seconds that none may be there
LARGE_BYTES = 2**20  # of parameters that do not travel inside the tasks of a step
TRIES = 3


class Here:
    """No cluster: Dask's own scheduler, whichever is set, makes the partitions in this process."""

    def hold(self, delayed: list) -> list:
        return list(dask.compute(*delayed))

    def map(self, function, held: list, *args) -> list:
        return [function(value, *args) for value in held]

    def fetch(self, held: list) -> list:
        return held

    def shards(self, make, held: list, numbers: list, *args) -> list:
        return [make(list(range(len(held))), held, *args)]

    def each_shard(self, shards, function, theta, *args) -> list:
        return [function(shard, theta, *args) for shard in shards]


class _Shard(NamedTuple):
    future: object
    address: str
    numbers: list  # of its partitions


class Cluster:
    """The workers of a `distributed.Client`; a partition stays with the worker that made it."""

    def __init__(self, client):
        self.client = client

    def hold(self, delayed: list) -> list:
        """Each where its rows are; where nothing is computed yet and nothing is common to several,
        neighbours on one worker, whose sums then leave it as few vectors."""
        with self._reached():
            threads = sorted(self.client.nthreads().items())
            if not threads or self._has_any(delayed):
                return self.client.compute(delayed)
            graph = HighLevelGraph.merge(*(one.__dask_graph__() for one in delayed)).to_dict()
            total, done, first, parts = sum(n for _, n in threads), 0, 0, []
            for address, own in threads:
                done += own
                last = len(delayed) * done // total
                if last > first:
                    keys = [one.key for one in delayed[first:last]]
                    parts.append((address, keys, cull(graph, keys)[0]))
                first = last
            tasks = [own.keys() for _, _, own in parts]
            if len(set().union(*tasks)) < sum(map(len, tasks)):
                return self.client.compute(delayed)
            return [
                future
                for address, keys, own in parts
                for future in self.client.compute(
                    [Delayed(key, own) for key in keys], **_rather(address)
                )
            ]

    def _has_any(self, delayed: list) -> bool:
        """Whether something that these need is on the workers already."""
        layers: dict = {}
        for one in delayed:
            graph = one.__dask_graph__()
            layers.update(getattr(graph, "layers", {id(graph): graph}))  # most are common to all
        return any(key in self.client.futures for layer in layers.values() for key in layer)

    def map(self, function, held: list, *args) -> list:
        with self._reached():
            return [self.client.submit(function, value, *args, pure=False) for value in held]

    def fetch(self, held: list) -> list:
        """The values, one a partition."""
        with self._reached():
            return self._gather(held, [[number] for number in range(len(held))])

    def shards(self, make, held: list, numbers: list, *args) -> list[_Shard]:
        """The partitions of each worker together, as make(places in `held`, values, ...).

        Where a worker is lost, what it had is made again, and together, by Dask.
        """
        with self._reached():
            where = self.client.who_has(held)
            places: dict[str, list] = {}
            for place, future in enumerate(held):
                workers = sorted(where.get(future.key) or ("",))
                places.setdefault(workers[0], []).append(place)
            return [
                _Shard(
                    self.client.submit(make, own, [held[place] for place in own], *args,
                                       pure=False, **_rather(address)),
                    address, [numbers[place] for place in own],
                )
                for address, own in places.items()
            ]  # fmt: skip

    def each_shard(self, shards: list[_Shard], function, theta, *args) -> list:
        """function(shard, theta, ...) of each, one task a worker."""
        numbers = [shard.numbers for shard in shards]
        with self._reached():
            for left in reversed(range(TRIES)):
                is_large = theta.nbytes > LARGE_BYTES
                send = self._scattered if is_large else self._embedded
                try:
                    results = self._gather(send(shards, function, theta, args), numbers)
                    break
                except RowsLost:
                    if not (is_large and left):  # else the parameters may have been lost alone
                        raise
        shards[:] = [shard._replace(address=at) for shard, (at, _) in zip(shards, results)]
        return [result for _, result in results]

    def _embedded(self, shards, function, theta, args) -> list:
        """Parameters in the tasks: a graph that leaves this process once, without an answer."""
        task = partial(_placed, function, theta, args)
        return self.client.map(task, [shard.future for shard in shards], pure=False)

    def _scattered(self, shards, function, theta, args) -> list:
        """Parameters to one worker, and on from worker to worker."""
        sent = self.client.scatter(theta, hash=False, broadcast=len(shards) > 1)
        return [
            self.client.submit(_placed, function, sent, args, shard.future, pure=False,
                               **_rather(shard.address))
            for shard in shards
        ]  # fmt: skip

    def _gather(self, futures: list, numbers: list[list[int]]) -> list:
        """Their values; `numbers` are the partitions of each."""
        lonely = None
        while True:
            try:
                wait(futures, timeout=POLL)
                break
            except WaitEnded:
                lonely = None if self._has_workers() else lonely or time.monotonic()
                if lonely and time.monotonic() - lonely > WITHOUT_WORKERS:
                    raise ConnectionError(
                        f"the cluster has had no workers for {WITHOUT_WORKERS:.0f} s, "
                        f"{_named(_pending(futures, numbers))} wait for one"
                    ) from None
            except CancelledError:
                break
        for future, own in zip(futures, numbers):
            if future.status == "error":
                raise _said(future.exception(), own)
            if future.cancelled():
                self._lost(future, own)
        return self.client.gather(futures)

    def _has_workers(self) -> bool:
        return bool(self.client.nthreads())

    @contextmanager
    def _reached(self):
        """What fails here because there is no cluster any more says so."""
        try:
            yield
        except Exception as error:
            gone = isinstance(error, (OSError, CancelledError, WaitEnded))
            if isinstance(error, ConnectionError) or not (gone or self.client.status != "running"):
                raise
            raise ConnectionError(
                f"{self.client} has lost its cluster: connect to another one, and go on from the "
                f"last checkpoint if there is one"
            ) from error

    def _lost(self, future, numbers):
        reason = str(getattr(future._state.exception, "reason", "")) or "unknown"
        if self.client.status != "running" or reason == "scheduler-connection-lost":
            raise CancelledError(reason)
        raise RowsLost(
            f"{_named(numbers)} were lost with their worker and cannot be made again ({reason}): "
            f"rows that a client scattered have no recipe; load them in tasks"
        )


class RowsLost(RuntimeError):
    """Partitions are gone, and nothing can make them again."""


def _placed(function, theta, args, shard):
    """(the worker's address, what the function returns)."""
    return get_worker().address, function(shard, theta, *args)


def _rather(address: str) -> dict:
    """Where a task goes unless that worker is lost."""
    return {"workers": [address], "allow_other_workers": True} if address else {}


def worker_threads() -> int | None:
    """Of kernels: as many as the worker may use, so that all workers together fill the cores."""
    try:
        threads = get_worker().state.nthreads
    except ValueError:  # no worker's
        return None
    return min(threads, max_threads())


def _pending(futures, numbers) -> list[int]:
    return [n for future, own in zip(futures, numbers) if not future.done() for n in own]


def _named(numbers) -> str:
    """partition 3; partitions 3, 4, 5 and 7 more."""
    shown = ", ".join(map(str, sorted(numbers)[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"partition{'s' * (len(numbers) > 1)} {shown}{more}"


def _said(error, numbers):
    """The error of a task, which names the partition."""
    if str(error).startswith("partition ") or not isinstance(error, Exception):
        return error
    if isinstance(error, KilledWorker):
        named = RowsLost(f"{_named(numbers)}: each worker that took them died ({error})")
    else:
        named = RuntimeError(f"{_named(numbers)}: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


def engine(client):
    """That of a client; of the one that Dask would use, or this process."""
    if client is None:
        get = get_scheduler()
        client = getattr(get, "__self__", None)
        return Cluster(client) if isinstance(client, Client) else Here()
    if not isinstance(client, Client):
        raise TypeError(f"client is {client!r}; expected a distributed.Client or None")
    return Cluster(client)
