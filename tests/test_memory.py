"""No kernel touches memory that is not its own.

Every array that a call meets (inputs, outputs and workspaces) lies flush against an unreadable
page, after it or before it; what is left of its own page holds a canary. Outputs and workspaces
are caught by putting a guarded `empty` and `zeros` in the place of NumPy's in the modules that
allocate; they start as NaN, so that a read of what was never written shows as well. A fault kills
the process, so each sweep runs in one of its own.
"""

import pytest
from helpers import run_python

GUARD = '''
import ctypes, itertools, mmap, sys
import numpy as np
import fastgrad as fg
from fastgrad import dense, network, neuron
from fastgrad._core import plan
from fastgrad.kernels import gemm
from helpers import assert_same_bits, dyadic, draw_problem, edge_sizes, lanes

PAGE, CANARY = mmap.PAGESIZE, 0xA5
libc = ctypes.CDLL(None, use_errno=True)


class Guard:
    """An array flush against an unreadable page: `after` it, or before it."""

    def __init__(self, shape, dtype, after):
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        pages = max(1, -(-size // PAGE))
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (0, pages + 1):
            if libc.mprotect(ctypes.c_void_p(address + page * PAGE), PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        inner = np.frombuffer(memory, np.uint8, pages * PAGE, PAGE)
        inner[:] = CANARY
        start = pages * PAGE - size if after else 0
        self.array = inner[start : start + size].view(dtype).reshape(shape)
        self.rest = inner[:start] if after else inner[size:]

    def check(self):
        assert (self.rest == CANARY).all(), "a canary was overwritten"


class Guarded:
    """NumPy whose `empty` and `zeros` are guarded."""

    after, live = True, []

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=float):
        guard = Guard(shape, dtype, Guarded.after)
        if guard.array.dtype.kind == "f":
            guard.array.fill(np.nan)
        Guarded.live.append(guard)
        return guard.array

    def zeros(self, shape, dtype=float):
        array = self.empty(shape, dtype)
        array.fill(0)
        return array


def guarded(array, after):
    guard = Guard(array.shape, array.dtype, after)
    guard.array[...] = array
    Guarded.live.append(guard)
    return guard.array


MODULES = (dense, network, neuron, plan)
fg.set_num_threads(1)


def forget_plans():
    for maker in (plan.network_plan, plan.neuron_plan):
        maker.cache_clear()


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def check(function, *arrays):
    """The same bits with every array guarded, after and before; nothing beside them written."""
    expected = [np.array(part) for part in parts(function(*arrays))]
    for after in (True, False):
        Guarded.after, Guarded.live = after, []
        forget_plans()
        for module in MODULES:
            module.np = Guarded()
        try:
            inputs = [guarded(a, after) for a in arrays]
            got = parts(function(*inputs))
        finally:
            for module in MODULES:
                module.np = np
        for a, b in zip(got, expected):
            assert_same_bits(a, b)
        for a, b in zip(inputs, arrays):
            assert_same_bits(a, b)
        for guard in Guarded.live:
            guard.check()
        Guarded.live = []
    forget_plans()


def check_layer(rng, n, d, k, dtype):
    X, W, b = dyadic(rng, (n, d), dtype), dyadic(rng, (d, k), dtype), dyadic(rng, k, dtype)
    check(fg.affine, X, W, b)
    check(fg.affine_relu, X, W, b)
    check(fg.affine_relu_backward, dyadic(rng, (n, k), dtype), X, W, rng.random((n, k)) < 0.5)


def check_network(rng, n, sizes, dtype, loss, weighted):
    if loss == "cross_entropy":
        sizes = sizes[:-1] + [max(2, sizes[-1])]
    arrays = draw_problem(rng, sizes, n, loss, dtype, weighted)
    arrays = arrays if weighted else arrays[:3]
    out = np.empty(sum((d + 1) * k for d, k in zip(sizes, sizes[1:])), dtype)

    def step(*arrays):  # a network of its own, so that no plan was made before
        return fg.MLP(sizes, loss=loss, dtype=dtype, l2=0.1).loss_and_grad(*arrays)

    def step_out(out, *arrays):
        net = fg.MLP(sizes, loss=loss, dtype=dtype)
        loss_, grad = net.loss_and_grad(*arrays, out=out)
        return loss_, grad.copy()

    def others(*arrays):
        net = fg.MLP(sizes, loss=loss, dtype=dtype)
        return net.grad_input(*arrays), net.predict(*arrays[:2]), net.loss(*arrays)

    check(step, *arrays)
    check(others, *arrays)
    if loss in ("logistic", "cross_entropy"):
        check(lambda *a: fg.MLP(sizes, loss=loss, dtype=dtype).predict_proba(*a), *arrays[:2])
    Guarded.after = True
    Guarded.live = []
    plain = step_out(out, *arrays)
    for after in (True, False):
        flush = guarded(out, after)
        assert_same_bits(step_out(flush, *arrays)[1], plain[1])
        assert_same_bits(flush, plain[1])
        Guarded.live[-1].check()


def check_neuron(rng, n, d, dtype, weighted):
    w, X, y = dyadic(rng, d, dtype), dyadic(rng, (n, d), dtype), dyadic(rng, n, dtype)
    s = [rng.integers(1, 4, n).astype(dtype)] if weighted else []
    check(lambda w, X, y, *s: fg.neuron_loss_and_grad(w, 0.5, X, y, *s), w, X, y, *s)
    check(lambda w, X: fg.neuron_grad(w, 0.5, X), w, X)
    check(fg.relu, X)
    check(fg.relu_mask, X)
'''

LOSSES = ["mse", "huber", "logistic", "cross_entropy"]

GUARDS_WORK = """
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
        run_python(GUARD + GUARDS_WORK, side, what)


SAMPLED = """
dtype = np.dtype(sys.argv[1])
rng = np.random.default_rng(11)
columns, rows = edge_sizes(dtype), [1, 2, 3, 5, 6, 7, 11, 12, 13, 24, 25, 27]
pick = lambda values: int(rng.choice(values))
for case in range(90):  # half at the edges, half anywhere within two tiles and a bit
    d, k = (pick(columns), pick(columns)) if case % 2 else rng.integers(1, columns[-1] + 1, 2)
    check_layer(rng, pick(rows), int(d), int(k), dtype)
losses = ["mse", "huber", "logistic", "cross_entropy"]
for case, loss in zip(range(90), itertools.cycle(losses)):
    sizes = [pick(columns) for _ in range(2 + case % 3)]
    check_network(rng, pick(rows), sizes, dtype, loss, case % 8 < 4)
for case in range(60):
    check_neuron(rng, pick(rows), pick([0, *columns]), dtype, case % 2 == 0)
# more than one block of rows, of products and of a neuron's sums
check_layer(rng, 250, 3, 5, dtype)
check_layer(rng, 7, gemm.KC_COLUMNS + 1, 3, dtype)
check_layer(rng, 7, gemm.KC_ROWS + 1, 3, dtype)
check_network(rng, 2100, [3, 2], dtype, "cross_entropy", True)
check_network(rng, 500, [3, 2, 1], dtype, "mse", True)
check_neuron(rng, 513, 9, dtype, True)
print("swept")
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_flush_against_unreadable_pages(dtype):
    assert run_python(GUARD + SAMPLED, dtype).strip() == "swept"


GRID = """
dtype = np.dtype(sys.argv[1])
rng = np.random.default_rng(12)
part, of = int(sys.argv[2]), int(sys.argv[3])
top = edge_sizes(dtype)[-1]
columns = range(1, top + 1)
for case, (d, k) in enumerate(itertools.product(columns, columns)):
    if case % of != part:
        continue
    n = 1 + case % 27
    check_layer(rng, n, d, k, dtype)
    loss = ("mse", "huber", "logistic", "cross_entropy")[case % 4]
    check_network(rng, n, [d, k], dtype, loss, case % 8 < 4)
    if k <= 27:
        check_neuron(rng, k, d, dtype, case % 2 == 0)
for n, k in itertools.product(range(1, 28), columns):
    if (n + k) % of == part:
        check_layer(rng, n, int(rng.integers(1, 20)), k, dtype)
        check_network(rng, n, [3, k, 2], dtype, "mse", False)
print("swept")
"""


@pytest.mark.stress
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_whole_grid_of_shapes_flush_against_unreadable_pages(dtype, part):
    assert run_python(GUARD + GRID, dtype, part, 8, timeout=3600).strip() == "swept"
