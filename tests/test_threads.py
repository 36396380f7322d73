"""Threads and processes: the same bits on any number, from any thread, after a fork."""

import pytest
from helpers import run_python

# Calls whose work is worth several threads: every kernel that has a parallel twin.
WORK = """
import hashlib, os, sys, threading, warnings
import numpy as np
import fastgrad as fg
from fastgrad import runtime

warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)


def work():
    rng = np.random.default_rng(13)
    X = rng.normal(size=(3000, 40))
    W, b = rng.normal(size=(40, 48)), rng.normal(size=48)
    values, labels = rng.normal(size=(3000, 5)), rng.integers(0, 5, 3000)
    s = rng.uniform(size=3000)
    net = fg.MLP([40, 33, 5], l2=0.1)
    theta = net.init(0)
    classes = fg.MLP([40, 33, 5], loss="cross_entropy", dtype=np.float32)
    theta32, X32 = classes.init(0), X.astype(np.float32)
    w, y, X20 = W[:, 0].copy(), values[:, 0].copy(), X[:, :20].copy()
    yield lambda **t: net.loss_and_grad(theta, X, values, s, **t)
    yield lambda **t: net.grad_input(theta, X, values, **t)
    yield lambda **t: net.predict(theta, X, **t)
    yield lambda **t: classes.loss_and_grad(theta32, X32, labels, **t)
    yield lambda **t: classes.predict_proba(theta32, X32, **t)
    yield lambda **t: fg.neuron_loss_and_grad(w, 0.5, X, y, **t)
    yield lambda **t: fg.affine(X, W, b, **t)


def bits(result):
    digest = hashlib.sha256()
    for part in result if isinstance(result, tuple) else (result,):
        digest.update(np.asarray(part).tobytes())
    return digest.hexdigest()


launched = []
def counted(kernel):
    def run(*args):
        launched.append(kernel)
        return kernel(*args)
    return run


def count_launches():
    from fastgrad import dense, network, neuron
    network.step_parallel = counted(network.step_parallel)
    dense.step_parallel = counted(dense.step_parallel)
    neuron.kernels.neuron_step_parallel = counted(neuron.kernels.neuron_step_parallel)
"""

SAME_BITS = """
count_launches()
for call in work():
    found = {bits(call(threads=t)) for t in (1, 2, 3, 8, 8, 3, 2, 1) for _ in range(3)}
    found |= {bits(call())}
    assert len(found) == 1, "the bits depend on the threads"
    print(*found)
assert len(launched) >= 6 * 3 * 7, "the parallel kernels did not run"
"""


def test_same_bits_on_1_2_3_and_8_threads_and_in_fresh_processes():
    first = run_python(WORK + SAME_BITS, NUMBA_NUM_THREADS="8").split()
    again = run_python(
        WORK + "print(*[bits(call(threads=1)) for call in work()])", NUMBA_NUM_THREADS="2"
    ).split()
    assert len(first) == 7 and first == again


MANY = """
import sys
from concurrent.futures import ThreadPoolExecutor
calls = list(work())
expected = [bits(call(threads=1)) for call in calls]
count_launches()
start = threading.Barrier(16)

def caller(seed):
    start.wait()
    order = np.random.default_rng(seed).integers(0, len(calls), int(sys.argv[1]))
    return all(bits(calls[i]()) == expected[i] for i in order)

sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(16) as pool:
    assert all(pool.map(caller, range(16)))
assert launched, "no parallel kernel ran"
print(fg.config()["threading layer"])
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_sixteen_threads_at_once(layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4"}
    assert run_python(WORK + MANY, 12, **environment).strip() == layer


@pytest.mark.stress
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_sixteen_threads_at_once_for_long(layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "8"}
    assert run_python(WORK + MANY, 1000, timeout=1800, **environment).strip() == layer


FORK = """
import multiprocessing
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


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_fork_after_parallel_kernels_and_call_in_the_child(layer):
    out = run_python(WORK + FORK, layer, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    assert out.strip() == "forked"


BATCH = """
rng = np.random.default_rng(14)
for sizes in ([40, 33, 5], [17, 1], [64, 128, 10]):
    net = fg.MLP(sizes)
    theta, X = net.init(0), rng.normal(size=(4000, sizes[0]))
    whole = net.predict(theta, X)
    for rows in (slice(0, 1), slice(1999, 2000), slice(3999, 4000), slice(7, 1900)):
        assert net.predict(theta, X[rows]).tobytes() == whole[rows].tobytes()
"""


def test_a_rows_prediction_is_the_same_alone_and_in_a_batch_of_threads():
    run_python(WORK + BATCH, NUMBA_NUM_THREADS="4")


LAUNCH = """
import numba
ran = []
def serial(): ran.append("serial")
def parallel(): ran.append(f"parallel on {numba.get_num_threads()}")

def launch(worth_it, threads=None):
    runtime.launch(serial, parallel, worth_it, threads, ())
    assert numba.get_num_threads() == 4
    return ran.pop()

assert launch(False) == launch(False, 3) == launch(True, 1) == "serial"
assert launch(True) == launch(True, 4) == "parallel on 4"
assert launch(True, 3) == "parallel on 3"
with fg.num_threads(2):
    assert fg.get_num_threads() == 2 and launch(True) == "parallel on 2"
    assert launch(True, 3) == "parallel on 3"
    with fg.num_threads(1):
        assert launch(True) == "serial"
    assert fg.get_num_threads() == 2
assert fg.get_num_threads() == 4
fg.set_num_threads(1)
assert launch(True) == "serial"
fg.set_num_threads(None)
assert launch(True) == "parallel on 4"
with runtime._launch:  # another thread is in a parallel kernel
    assert launch(True) == "serial"
numba.set_num_threads(2)  # what the caller had set is restored
runtime.launch(serial, parallel, True, 3, ())
assert ran.pop() == "parallel on 3" and numba.get_num_threads() == 2
def fails(): raise KeyError
try:
    runtime.launch(serial, fails, True, 3, ())
except KeyError:
    pass
assert numba.get_num_threads() == 2 and not runtime._launch.locked()
try:
    with fg.num_threads(3):
        raise KeyError
except KeyError:
    assert fg.get_num_threads() == 4
for bad in (5, 0):
    try:
        runtime.launch(serial, parallel, True, bad, ())
    except ValueError as error:
        assert "threads is" in str(error)
    else:
        raise AssertionError
assert not ran
"""


def test_bounds_on_threads_are_obeyed_and_restored():
    run_python(WORK + LAUNCH, NUMBA_NUM_THREADS="4")


IMPORT = """
import threading, sys
before = set(sys.modules)
import fastgrad as fg
assert threading.active_count() == 1
assert fg.config()["threading layer"] == "not started"
from fastgrad.kernels import network, neuron
for kernel in (network.step, network.step_parallel, neuron.neuron_step, neuron.relu):
    assert not kernel.signatures, "something compiled at import"
"""


def test_import_compiles_nothing_and_starts_no_threads():
    run_python(IMPORT)
