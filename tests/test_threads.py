"""Threads: the same bits on any number, from any thread, under every threading layer."""

import platform

import pytest
from helpers import LAYERS, run_python, threading_layer

START = """
import os, sys, threading
import numba
import numpy as np
import fastgrad as fg
from fastgrad._core import threads
from workload import all_bits, bits, count_launches, launched, work
"""

SAME_BITS = """
count_launches()
for call in work():
    numba.set_num_threads(8)
    found = {bits(call(threads=t)) for t in (1, 2, 3, 8, 8, 3, 2, 1) for _ in range(3)}
    for t in (1, 2, 3, 8, 8, 3, 2, 1):
        numba.set_num_threads(t)  # the bound with which the fast path starts threads
        with fg.num_threads(t):
            found |= {bits(call()) for _ in range(3)}
    assert len(found) == 1, "the bits depend on the threads"
    print(*found)
assert launched.count("checked") >= 6 * 3 * 7, "the parallel kernels did not run"
assert launched.count("fast") >= 2 * 6 * 2, "the fast path did not run in parallel"
"""


def test_same_bits_on_1_2_3_and_8_threads_and_in_fresh_processes():
    first = run_python(START + SAME_BITS, NUMBA_NUM_THREADS="8").split()
    assert len(first) == 7
    for environment in ({"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": "workqueue"},
                        {"NUMBA_NUM_THREADS": "1"}):  # fmt: skip
        assert run_python(START + "print(*all_bits())", **environment).split() == first


MANY = """
from concurrent.futures import ThreadPoolExecutor
calls = list(work())
expected = [bits(call(threads=1)) for call in calls]
count_launches()
assert [bits(call()) for call in calls for _ in range(2)] == [b for b in expected for _ in range(2)]
assert set(launched) == {"checked", "fast"}, "a path was not parallel"
launched.clear()
start = threading.Barrier(16)

def caller(seed):
    numba.set_num_threads(own := (1, 2, 4, 4)[seed % 4])
    start.wait()
    rng = np.random.default_rng(seed)
    for _ in range(int(sys.argv[1])):
        i, bound = rng.integers(len(calls)), (None, None, 1, 2, 3, 4)[rng.integers(6)]
        assert bits(calls[i](threads=bound)) == expected[i]
        assert numba.get_num_threads() == own
    return True

sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(16) as pool:
    assert all(pool.map(caller, range(16)))
assert launched, "no parallel kernel ran"
print(fg.config()["threading layer"])
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_sixteen_threads_at_once(layer):
    environment = {"NUMBA_NUM_THREADS": "4", **threading_layer(layer)}
    assert run_python(START + MANY, 12, **environment).strip() == layer


@pytest.mark.stress
@pytest.mark.parametrize("layer", LAYERS)
def test_sixteen_threads_at_once_for_long(layer):
    environment = {"NUMBA_NUM_THREADS": "8", **threading_layer(layer)}
    assert run_python(START + MANY, 1000, timeout=3600, **environment).strip() == layer


# Numba's rule for the layer workqueue: one parallel loop at a time in a process, whoever's it is.
BESIDE = """
import loops
expected = all_bits()
loops.check_networks(np.random.default_rng(15))
loops.check_neurons(np.random.default_rng(16))
loops.check_python_calls()
layer = fg.config()["threading layer"]
count_launches()
loops.check_beside_python(expected, **({"threads": 1} if layer == "workqueue" else {}))
assert bool(launched) == (layer != "workqueue")
print(layer)
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_inside_and_beside_the_users_own_parallel_loops(layer):
    environment = {"NUMBA_NUM_THREADS": "4", **threading_layer(layer)}
    assert run_python(START + BESIDE, **environment).strip() == layer


@pytest.mark.stress
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_inside_the_users_own_parallel_loops(layer):
    code = "import numpy as np, loops\nloops.check_layers(np.random.default_rng(17))"
    run_python(code, NUMBA_NUM_THREADS="4", **threading_layer(layer))


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
    run_python(START + BATCH, NUMBA_NUM_THREADS="4")


LAUNCH = """
ran = []
def serial(): ran.append("serial")
def parallel(): ran.append(f"parallel on {numba.get_num_threads()}")

def launch(worth_it, bound=None):
    threads.launch(serial, parallel, worth_it, bound, ())
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
with threads._parallel:  # another thread is in a parallel kernel
    assert launch(True) == "serial"
numba.set_num_threads(2)  # what the caller had set is restored
threads.launch(serial, parallel, True, 3, ())
assert ran.pop() == "parallel on 2" and numba.get_num_threads() == 2  # the smaller bound
def fails(): raise KeyError
try:
    threads.launch(serial, fails, True, 3, ())
except KeyError:
    pass
assert numba.get_num_threads() == 2 and not threads._parallel.locked()
try:
    with fg.num_threads(3):
        raise KeyError
except KeyError:
    assert fg.get_num_threads() == 4
for bad in (5, 0):
    try:
        threads.launch(serial, parallel, True, bad, ())
    except ValueError as error:
        assert "threads is" in str(error)
    else:
        raise AssertionError
assert not ran
"""


def test_bounds_on_threads_are_obeyed_and_restored():
    run_python(START + LAUNCH, NUMBA_NUM_THREADS="4")


SMALLEST = """
from fastgrad._core import threads
call = next(work())
expected = bits(call())
count_launches()

def ran():
    launched.clear()
    assert {bits(call()) for _ in range(3)} == {expected}
    return len(launched)

assert ran() == 3
numba.set_num_threads(1)  # Numba's bound, below ours
assert threads.bound(None) == threads.bound(4) == 1
launched.clear()
assert bits(call(threads=4)) == expected and not launched
numba.set_num_threads(2)
assert ran() == 3 and threads.bound(None) == threads.bound(4) == 2
numba.set_num_threads(4)
if fg.config()["threading layer"] == "omp":
    from threadpoolctl import threadpool_limits
    with threadpool_limits(2, user_api="openmp"):
        assert threads.bound(None) == threads.bound(4) == 2
        with threadpool_limits(1, user_api="openmp"):
            assert threads.bound(4) == 1 and bits(call(threads=4)) == expected
    assert threads.bound(None) == 4
print(fg.config()["threading layer"])
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_the_smallest_bound_holds(layer):
    pytest.importorskip("threadpoolctl")
    environment = {"NUMBA_NUM_THREADS": "4", **threading_layer(layer)}
    assert run_python(START + SMALLEST, **environment).strip() == layer


def test_omp_num_threads_is_the_bound_that_none_was_set_for():
    code = """
        import fastgrad as fg
        print(fg.get_num_threads())
        fg.set_num_threads(3)
        print(fg.get_num_threads())
        """
    for value, bound in (("1", 1), ("2,4", 2), ("9", 4), ("many", 4), ("0", 4)):
        found = run_python(code, NUMBA_NUM_THREADS="4", OMP_NUM_THREADS=value).split()
        assert found == [str(bound), "3"]


ONE = """
def threads_of_the_system():
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else None

count_launches()
before = threads_of_the_system()
assert all_bits() == all_bits()
assert fg.get_num_threads() == 1 and not launched
assert threads_of_the_system() == before
"""


def test_one_thread_in_the_environment_starts_no_others():
    run_python(START + ONE, NUMBA_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # NumPy's, for dots


IMPORT = """
import threading, sys
before = set(sys.modules)
import fastgrad as fg
assert threading.active_count() == 1
assert fg.config()["threading layer"] == "not started"
from fastgrad.kernels import bind, engine, neuron
for kernel in (bind.run_step, engine.serial_step, engine.parallel_step, neuron.relu):
    assert not kernel.signatures, "something compiled at import"
"""


def test_import_compiles_nothing_and_starts_no_threads():
    run_python(IMPORT)


def test_every_public_name_is_there_and_what_a_gradient_does_not_need_comes_later():
    run_python("""
        import sys
        import fastgrad as fg
        later = {"calculus", "checkpoint", "datasets", "gradcheck", "history", "metrics", "models",
                 "per_sample", "training"}
        assert not [name for name in later if f"fastgrad.{name}" in sys.modules]
        assert set(fg.__all__) <= set(dir(fg))
        assert all(getattr(fg, name) is not None for name in fg.__all__)
        assert all(f"fastgrad.{name}" in sys.modules for name in later)
        from fastgrad import *
        try:
            fg.nonsense
        except AttributeError as error:
            assert "no attribute 'nonsense'" in str(error)
        """)


FLUSHED = """
import sys
import numba
import numpy as np
import fastgrad as fg
from fastgrad._training.stepper import NO_LOSS, Stepper
from fastgrad.kernels.rounding import control_word, set_control_word
from helpers import cut_plans
from workload import count_launches, launched

cut_plans("many tasks")

@numba.njit
def set_word(bits):
    before = control_word()
    set_control_word(before | bits)
    return before

@numba.njit
def restore(word):
    set_control_word(word)

def all_bits(threads):
    for dtype, tiny in (("f4", 1e-38), ("f8", 1e-308)):
        rng = np.random.default_rng(0)
        net = fg.MLP([8, 16, 3], dtype=dtype)
        X, Y = ((rng.normal(size=(90, k)) * tiny).astype(dtype) for k in (8, 3))
        w, y = net.init(0)[:8].copy(), Y[:, 0].copy()
        yield net.loss_and_grad(net.init(0), X, Y, threads=threads)[1].tobytes()
        yield fg.affine_relu(X, w, 0.0, threads=threads)[0].tobytes()
        yield fg.neuron_loss_and_grad(w, 0.0, X, y, threads=threads)[1].tobytes()
        steps = Stepper(net, net.init(0), fg.SGD(1.0), False, threads)
        steps._call(threads > 1, NO_LOSS, X, Y.reshape(-1), None, np.arange(90), 45)
        yield steps.theta.tobytes()

count_launches()
gradual = list(all_bits(2))
assert gradual == list(all_bits(1))
word = set_word(FLUSH)
flushed = list(all_bits(1))
parallel = list(all_bits(2))
restore(word)
assert parallel == flushed != gradual
assert list(all_bits(2)) == gradual  # the threads have their own word back
print(len(launched))
"""


def test_threads_flush_subnormal_numbers_where_the_caller_does():
    """As `torch.set_flush_denormal(True)` makes it: the bits of one thread on any number."""
    flush = {"x86_64": 0x8040, "amd64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}
    code = f"FLUSH = {flush[platform.machine().lower()]}\n" + FLUSHED
    assert int(run_python(code, NUMBA_NUM_THREADS="2")) >= 9
