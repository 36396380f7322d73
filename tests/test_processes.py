"""Processes: right results in children of every kind, made after parallel kernels have run."""

import pytest
from helpers import LAYERS, run_python, threading_layer

START = """
import multiprocessing, sys, threading, warnings
import numpy as np
import fastgrad as fg
from workload import all_bits, bits, count_launches, launched, work

warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
"""

FORK = """
fork = multiprocessing.get_context("fork")
calls = list(work())
expected = [bits(call()) for call in calls]
assert fg.config()["threading layer"] == sys.argv[1]


def child():
    count_launches()
    assert [bits(call()) for call in calls] == expected
    assert [bits(call(threads=2)) for call in calls] == expected
    assert not launched, "a child launched threads that it does not have"


def children(count):
    processes = [fork.Process(target=child) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0, process.exitcode


children(2)
# while another thread is inside parallel kernels, and holds the launch
stop = threading.Event()
def busy():
    while not stop.is_set():
        calls[0]()
thread = threading.Thread(target=busy)
thread.start()
try:
    for _ in range(4):
        children(2)
finally:
    stop.set()
    thread.join()
assert [bits(call()) for call in calls] == expected
print("forked")
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_fork_after_parallel_kernels_and_call_in_the_child(layer):
    environment = {"NUMBA_NUM_THREADS": "2", **threading_layer(layer)}
    # Numba says a word of its own where TBB's threads cannot be joined before the fork
    assert run_python(START + FORK, layer, **environment).split()[-1] == "forked"


POOL = """
from concurrent.futures import ProcessPoolExecutor
count_launches()
expected = all_bits()
assert all_bits() == expected
assert set(launched) == {"checked", "fast"}, "a path did not run in parallel in the parent"
with ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1])) as pool:
    assert list(pool.map(all_bits, range(4))) == [expected] * 4
assert all_bits() == expected
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_after_parallel_kernels(method):
    run_python(START + POOL, method, NUMBA_NUM_THREADS="2")


JOBLIB = """
from joblib import Parallel, delayed
expected = all_bits()
workers = Parallel(n_jobs=2, backend=sys.argv[1])
assert workers(delayed(all_bits)() for _ in range(4)) == [expected] * 4
assert all_bits() == expected
"""


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_joblib_after_parallel_kernels(backend):
    pytest.importorskip("joblib")
    run_python(START + JOBLIB, backend, NUMBA_NUM_THREADS="2")


HANDLE = """
import os, time
import numba
from fastgrad.interop.numba import network

@numba.njit(nogil=True)
def many(handle, theta, X, y, grad, steps):
    loss = 0.0
    for _ in range(steps):
        loss, _ = handle.loss_and_grad(theta, X, y, out=grad)
    return loss

net = fg.MLP([40, 33, 5])
theta, X, y = net.init(0), np.ones((400, 40)), np.ones((400, 5))
handle = network(net, 400, copies=1)
expected = many(handle, theta, X, y, theta.copy(), 1)
thread = threading.Thread(target=many, args=(handle, theta, X, y, theta.copy(), 2000))
thread.start()
while not handle.busy.any():
    time.sleep(0)

def child():
    assert many(handle, theta, X, y, theta.copy(), 3) == expected

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(30)
code = process.exitcode
process.kill()
thread.join()
assert code == 0, "the child waits for a thread that it does not have"
"""


def test_fork_while_another_thread_is_inside_compiled_code():
    run_python(START + HANDLE)


FORK_IN_FIT = """
fork = multiprocessing.get_context("fork")
X, net, stop = np.ones((64, 4)), fg.MLP([4, 8, 1]), threading.Event()


def train():
    return fg.fit(net, X, X[:, 0], epochs=1, seed=0, threads=1).theta.tobytes()


def train_on():
    while not stop.is_set():
        train()


expected = train()
thread = threading.Thread(target=train_on)
thread.start()


def child():
    assert train() == expected


processes = [fork.Process(target=child) for _ in range(30)]
for process in processes:
    process.start()
for process in processes:
    process.join(20)
    assert process.exitcode == 0, process.exitcode
stop.set()
thread.join()
print("done")
"""


def test_fork_while_another_thread_is_inside_fit():
    assert run_python(START + FORK_IN_FIT).strip() == "done"
