"""No kernel touches memory that is not its own.

Every array that a call meets (inputs, outputs and workspaces) lies flush against an unreadable
page, after it or before it, with canaries on its other side (`guards.py`): checked calls, their
fast path, training, and calls from compiled code. A fault kills the process, so each sweep runs in
one of its own.
"""

import pytest
from helpers import LOSSES, run_for_each, run_python, simd_path

DTYPES = "float32", "float64"

GUARDS_WORK = """
import ctypes, sys
from guards import Guard
probe = Guard((5,), float, sys.argv[1] == "after")
probe.array[0 if sys.argv[1] == "after" else 4] = 1
probe.check()
if sys.argv[2] == "fault":
    at = probe.array.ctypes.data + (5 * 8 if sys.argv[1] == "after" else -1)
    ctypes.string_at(at, 1)
else:
    at = probe.array.ctypes.data + (-1 if sys.argv[1] == "after" else 5 * 8)
    ctypes.memset(at, 0, 1)
    probe.check()
"""


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize(("what", "code"), [("fault", -11), ("canary", 1)])
def test_the_guards_catch_a_byte_too_far(side, what, code):
    with pytest.raises(AssertionError, match=f"exit code {code}"):
        run_python(GUARDS_WORK, side, what)


START = """
import sys
from itertools import cycle, product
import numpy as np
import fastgrad as fg
from fastgrad.kernels import tuning
from fastgrad.activations import ACTIVATIONS
from guards import (check_compiled_layer, check_compiled_network, check_derivatives, check_layer,
                    check_network, check_neuron, check_optimizer, check_training)
from helpers import CUTS, LOSSES, cut_plans, edge_sizes
from workload import count_launches, launched

dtype = np.dtype(sys.argv[1])
rng = np.random.default_rng(11)
columns = edge_sizes(dtype)
top = columns[-1]
pick = lambda values: int(rng.choice(values))
"""

SAMPLED = """
fg.set_num_threads(1)
rows = [1, 2, 3, 5, 6, 7, 11, 12, 13, 24, 25, 27]
for case in range(90):  # half at the edges, half anywhere within two tiles and a bit
    d, k = (pick(columns), pick(columns)) if case % 2 else rng.integers(1, top + 1, 2)
    check_layer(rng, pick(rows), int(d), int(k), dtype)
for case, loss, activation in zip(range(90), cycle(LOSSES), cycle(["relu", *ACTIVATIONS])):
    sizes = [pick(columns) for _ in range(2 + case % 3)]
    check_network(rng, pick(rows), sizes, dtype, loss, case % 8 < 4, activation)
for case, loss in zip(range(40), cycle(LOSSES)):  # one output: in one pass over X
    check_network(rng, pick(rows), [pick(columns), 1], dtype, loss, case % 4 < 2)
for case in range(60):
    check_neuron(rng, pick(rows), pick([0, *columns]), dtype, case % 2 == 0)
# more than one block of rows, of products and of a neuron's sums
check_layer(rng, 250, 3, 5, dtype)
check_layer(rng, 7, tuning.KC_COLUMNS + 1, 3, dtype)
check_layer(rng, 7, tuning.KC_ROWS + 1, 3, dtype)
check_network(rng, 2100, [3, 2], dtype, "cross_entropy", True)
check_network(rng, 500, [3, 2, 1], dtype, "mse", True)
check_neuron(rng, 513, 9, dtype, True)
for p in [*range(1, 20), 31, 33, *range(63, 68), 127, 129, 257]:
    for optimizer in (fg.SGD(), fg.Nesterov(clip_norm=1.0), fg.RMSprop(), fg.AdamW()):
        check_optimizer(rng, p, optimizer)
print("swept")
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_flush_against_unreadable_pages(dtype):
    assert run_for_each(START + SAMPLED, DTYPES, dtype).strip() == "swept"


TRAINED = """
optimizers = cycle([fg.SGD(1e-6), fg.Momentum(1e-3, clip_norm=1.0), fg.AdamW()])
losses = cycle(LOSSES)
for case in range(120):
    sizes = [pick(columns) for _ in range(2 + case % 3)]
    n, m = pick([1, 5, 33, 70]), pick([1, 2, 5, 24, 25])
    check_training(rng, n, m, sizes, dtype, next(losses), case % 8 < 4, 1, next(optimizers))
for cut in ("many tasks", "wide", "wide, stored in parts"):
    cut_plans(cut)
    for case in range(8):
        sizes = [pick(columns) for _ in range(2 + case % 3)]
        m = pick([26, 61, 130])
        check_training(rng, 70, m, sizes, dtype, next(losses), case % 2, 2, next(optimizers))
print("swept")
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_flush_against_unreadable_pages(dtype):
    assert run_for_each(START + TRAINED, DTYPES, dtype, NUMBA_NUM_THREADS="2").strip() == "swept"


DERIVED = """
fg.set_num_threads(1)
rows = [1, 2, 3, 5, 7, 12, 25, 33]
for case, loss, activation in zip(range(36), cycle(LOSSES), cycle(["relu", *ACTIVATIONS])):
    # half of few columns, so that the matrices are small
    sizes = [pick(columns) if case % 2 else pick(columns[:5]) for _ in range(2 + case % 3)]
    check_derivatives(rng, pick(rows), sizes, dtype, loss, case % 8 < 4, activation)
check_derivatives(rng, 2100, [3, 2], dtype, "cross_entropy", True)
fg.set_num_threads(None)
for cut in ("many tasks", "flushed", "wide", "wide, stored in parts"):
    cut_plans(cut)
    for case, loss, activation in zip(range(4), cycle(LOSSES), cycle(["relu", "tanh"])):
        sizes = [pick(columns) if case % 2 else pick(columns[:5]) for _ in range(2 + case % 3)]
        check_derivatives(rng, pick([1, 33, 130, 250]), sizes, dtype, loss, case % 2, activation)
print("swept")
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_flush_against_unreadable_pages(dtype):
    assert run_for_each(START + DERIVED, DTYPES, dtype, NUMBA_NUM_THREADS="2").strip() == "swept"


# A kind of handle is several compilations of a second: without "all", labels are swept in float32
# alone, derivatives with labels in float32, with values in float64, layers and neurons in float64.
COMPILED = """
labelled = {loss for loss in LOSSES if fg.losses.LOSSES[loss].labelled}
every, single = "all" in sys.argv, dtype == "float32"
losses = [loss for loss in LOSSES if every or single or loss not in labelled]
for case, loss in zip(range(140), cycle(losses)):
    sizes = [pick(columns) for _ in range(2 + case % 3)]
    curved = every or single == (loss in labelled)
    check_compiled_network(rng, pick([1, 2, 7, 25]), sizes, dtype, loss, case % 4 < 2, curved)
if every or not single:
    for case in range(300):
        check_compiled_layer(rng, pick([1, 2, 7, 25]), pick(columns), pick(columns), dtype)
    check_compiled_layer(rng, 250, 3, 5, dtype)
    check_compiled_layer(rng, 7, 5, tuning.KC_COLUMNS + 1, dtype)
print("swept")
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_code_flush_against_unreadable_pages(dtype):
    assert run_for_each(START + COMPILED, DTYPES, dtype).strip() == "swept"


@pytest.mark.stress
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_compiled_code_flush_against_unreadable_pages(dtype):
    assert run_python(START + COMPILED, dtype, "all").strip() == "swept"


# Several tasks on several threads, whatever the size; the losses named are the ones swept.
PARALLEL = """
cases, layers = int(sys.argv[2]), int(sys.argv[3])
count_launches()
for cut in ("many tasks", "flushed", "wide", "wide, stored in parts"):
    cut_plans(cut)
    for case, loss in zip(range(cases), cycle(sys.argv[4:])):
        n = pick([1, 7, 33, 61, 130, 250])
        check_network(rng, n, [pick(columns) for _ in range(2 + case % 3)], dtype, loss, case % 2)
        check_neuron(rng, n, pick(columns), dtype, case % 2 == 0)
        if case < layers:
            check_layer(rng, n, pick(columns), pick(columns), dtype)
    assert set(launched) == {"checked", "fast"}, launched
    launched.clear()
print("swept")
"""


@pytest.mark.parametrize(("dtype", "loss"), [("float32", "cross_entropy"), ("float64", "mse")])
def test_parallel_kernels_flush_against_unreadable_pages(dtype, loss):
    code, threads = START + PARALLEL, {"NUMBA_NUM_THREADS": "4"}
    assert run_python(code, dtype, 4, 0, loss, **threads).strip() == "swept"


GRID = """
fg.set_num_threads(1)
columns = range(1, top + 1)
for case, (d, k) in enumerate(product(columns, columns)):
    check_layer(rng, 1 + case % 27, d, k, dtype)
    check_network(rng, 1 + case % 27, [d, k], dtype, LOSSES[case % len(LOSSES)],
                  case % 8 < 4)
    if k <= 27:
        check_neuron(rng, k, d, dtype, case % 2 == 0)
for n, k in product(range(1, 28), columns):
    check_layer(rng, n, int(rng.integers(1, 20)), k, dtype)
    check_network(rng, n, [3, k, 2], dtype, "mse", False)
print("swept", fg.config()["simd"])
"""


@pytest.mark.stress
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", ["native", "avx2", "plain"])
def test_the_whole_grid_of_shapes_flush_against_unreadable_pages(path, dtype):
    out = run_python(START + GRID, dtype, timeout=3600, **simd_path(path))
    assert out.split()[0] == "swept" and path in ("native", out.split()[1])


@pytest.mark.stress
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", ["native", "avx2"])
def test_every_parallel_kernel_flush_against_unreadable_pages(path, dtype):
    environment = {"NUMBA_NUM_THREADS": "4", **simd_path(path)}
    out = run_python(START + PARALLEL, dtype, 200, 200, *LOSSES, timeout=3600, **environment)
    assert out.strip() == "swept"
