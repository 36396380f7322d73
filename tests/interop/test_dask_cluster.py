"""Dask's clusters: the same bits on any number of workers, and where one of them is lost."""

import logging
import os
import signal
import threading
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import fastgrad as fg
from fastgrad.interop import dask as guest
from fastgrad.interop.dask import engines

# Older Dask warns of a synchronous scheduler beside a client, which is what these tests compare.
pytestmark = pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler:UserWarning")

NET = fg.MLP([6, 8, 3], "cross_entropy", dtype="float32", l2=0.01)
SETTINGS = {"seed": 0, "epochs": 6}


def cut():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((700, 6)).astype(np.float32)
    y = X[:, :3].argmax(axis=1)
    return da.from_array(X, chunks=(100, 6)), da.from_array(y, chunks=100)


def adam(**more):
    return guest.fit(NET, *cut(), batch_size=350, **{**SETTINGS, **more})


def lbfgs():
    return guest.fit(NET, *cut(), optimizer="lbfgs", **SETTINGS)


@pytest.fixture(scope="module")
def alone():
    """What Dask's synchronous scheduler gives."""
    with dask.config.set(scheduler="synchronous"):
        return adam(), lbfgs()


def require_same(found, expected):
    np.testing.assert_array_equal(found.theta, expected.theta)
    for column in set(found.history.columns) - {"seconds"}:
        np.testing.assert_array_equal(found.history[column], expected.history[column])


@pytest.fixture(scope="module")
def processes():
    """A cluster of one worker process, which tests let grow."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0",
                     silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture
def threads():
    """A cluster of two workers in this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0",
                     silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_bits_on_any_number_of_worker_processes(processes, alone, workers):
    processes.cluster.scale(workers)
    processes.wait_for_workers(workers)
    for found, expected in zip((adam(), lbfgs()), alone):
        require_same(found, expected)
    threads = processes.submit(engines.worker_threads, pure=False).result()
    assert threads == 1  # of kernels, as the worker has


def test_a_worker_that_is_killed_in_the_middle_of_a_step_costs_no_bit(processes, alone):
    processes.cluster.scale(2)
    processes.wait_for_workers(2)
    victim = sorted(processes.run(os.getpid).items())[-1][1]
    killed = []

    def stop_and_kill(result):
        """A worker that stands still gets a task of the next step, and dies with it."""
        if result.epochs == 3 and not killed:
            os.kill(victim, signal.SIGSTOP)
            timer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
            timer.start()
            killed.append(timer)

    require_same(adam(callbacks=stop_and_kill), alone[0])
    killed[0].join()
    assert victim not in processes.run(os.getpid).values()


def test_the_same_bits_with_workers_of_several_threads(threads, alone, monkeypatch):
    submitted = []
    gather = engines.Cluster._gather
    monkeypatch.setattr(
        engines.Cluster, "_gather",
        lambda self, futures, numbers: submitted.append(len(futures))
        or gather(self, futures, numbers),
    )  # fmt: skip
    result = adam()
    require_same(result, alone[0])
    assert submitted == [7] + [2] * result.optimizer.steps  # one task a worker and step
    loss = guest.PartedLoss(NET, *cut())
    with dask.config.set(scheduler="synchronous"):
        expected = guest.loss_and_grad(NET, result.theta, *cut())
    for large in (0, 2**20):  # parameters that travel by themselves, or in the tasks
        monkeypatch.setattr(engines, "LARGE_BYTES", large)
        found = loss.loss_and_grad(result.theta)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])


def test_an_estimator_on_a_cluster_and_without(threads):
    X, y = cut()
    X, y = X.persist(), y.persist()
    settings = {"max_iter": 3, "batch_size": 350, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs are not enough
        found = guest.DaskMLPClassifier((8,), client=threads, **settings).fit(X, y)
        with dask.config.set(scheduler="synchronous"):
            expected = guest.DaskMLPClassifier((8,), **settings).fit(*cut())
    np.testing.assert_array_equal(found._theta, expected._theta)
    assert found.client_ is threads
    np.testing.assert_array_equal(found.predict(X).compute(), expected.to_local().predict(cut()[0]))
    assert found.score(X, y) == expected.to_local().score(*dask.compute(*cut()))


def test_partitions_that_are_futures(threads):
    X, y = cut()
    theta = NET.init(seed=0)
    parts = [list(collection.to_delayed().ravel()) for collection in (X, y)]
    futures = [threads.compute(part) for part in parts]
    found = guest.loss_and_grad(NET, theta, *futures)
    with dask.config.set(scheduler="synchronous"):
        expected = guest.loss_and_grad(NET, theta, X, y)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_partition_that_cannot_be_made_is_named(threads):
    def read(number):
        if number == 2:
            raise OSError(2, "No such file", "part.2.parquet")
        return np.ones((5, 6), np.float32)

    X = [dask.delayed(read)(number) for number in range(4)]
    y = [np.zeros(5, np.int64)] * 4
    with pytest.raises(RuntimeError, match=r"partition 2: FileNotFoundError: .*part\.2\.parquet"):
        guest.loss_and_grad(NET, NET.init(seed=0), X, y)


def test_a_cluster_that_goes_away_is_an_error_and_the_checkpoint_is_good(threads, folder):
    def close(result):
        if result.epochs == 3:
            threads.cluster.close()

    with pytest.raises(ConnectionError, match="has lost its cluster"):
        adam(checkpoint="run.npz", callbacks=close)
    assert fg.load_checkpoint("run.npz").run["epoch"] == 3
    with dask.config.set(scheduler="synchronous"):
        require_same(adam(checkpoint="run.npz", resume=True), adam())


def test_a_cluster_without_workers_is_an_error(threads, monkeypatch):
    monkeypatch.setattr(engines, "POLL", 0.1)
    monkeypatch.setattr(engines, "WITHOUT_WORKERS", 0.2)
    loss = guest.PartedLoss(NET, *cut())
    for worker in list(threads.cluster.workers.values()):
        threads.cluster.sync(worker.close)
    with pytest.raises(ConnectionError, match=r"no workers for 0 s, partitions 0, 1, 2, 3, 4, 5"):
        loss.loss_and_grad(NET.init(seed=0))


def test_rows_that_nothing_can_make_again(threads):
    """A client's `scatter` leaves no recipe."""
    first = sorted(threads.nthreads())[0]
    X, y = (
        threads.scatter(list(dask.compute(*collection.to_delayed().ravel())), workers=[first])
        for collection in cut()
    )
    loss = guest.PartedLoss(NET, X, y)
    (worker,) = (w for w in threads.cluster.workers.values() if w.address == first)
    threads.cluster.sync(worker.close, executor_wait=False, nanny=False)
    with pytest.raises(RuntimeError, match=r"partitions 0, 1, .* were lost with their worker"):
        loss.loss_and_grad(NET.init(seed=0))
