"""Calls whose every array lies flush against an unreadable page: what `test_memory.py` sweeps.

Inputs are copied there; outputs and workspaces are caught by putting a guarded `empty` and `zeros`
in the place of NumPy's in the modules that allocate. They start as NaN, so that a read of what was
never written shows as well. What is left of an array's own pages holds a canary.
"""

import ctypes
import mmap
from itertools import pairwise

import numpy as np
from helpers import assert_same_bits, draw_problem, dyadic, forget_plans

import fastgrad as fg
from fastgrad import dense, network, neuron
from fastgrad._core import workspace

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


MODULES = (dense, network, neuron, workspace)


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def check(function, *arrays):
    """The bits of one thread with every array guarded, after and before, on as many threads as are
    set; nothing beside the arrays written."""
    with fg.num_threads(1):
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
    grad_a, mask = dyadic(rng, (n, k), dtype), rng.random((n, k)) < 0.5

    def apart(grad_a, X, W, mask):  # db is no longer behind dW
        out = tuple(dense.np.empty(shape, dtype) for shape in ((n, d), (d, k), k))
        return fg.affine_relu_backward(grad_a, X, W, mask, out=out)

    for backward in (fg.affine_relu_backward, apart):
        check(backward, grad_a, X, W, mask)


def check_network(rng, n, sizes, dtype, loss, weighted):
    if loss == "cross_entropy":
        sizes = sizes[:-1] + [max(2, sizes[-1])]
    arrays = draw_problem(rng, sizes, n, loss, dtype, weighted)
    arrays = arrays if weighted else arrays[:3]
    out = np.empty(sum((d + 1) * k for d, k in pairwise(sizes)), dtype)

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


def check_optimizer(rng, p, optimizer):
    """Two steps of an optimiser, its state guarded too, for each dtype."""
    for dtype in (np.float32, np.float64):
        theta, *grads = rng.normal(size=(3, p)).astype(dtype)

        def after_steps(make, theta=theta, grads=grads):
            opt, theta, found = optimizer.copy(), make(theta), []
            opt._state = make(opt.prepare(p, theta.dtype)[0])
            for grad in grads:
                opt.step(theta, make(grad))
                found += [theta.tobytes(), opt._state.tobytes()]
            return found

        expected = after_steps(np.array)
        for after in (True, False):
            Guarded.live = []
            assert after_steps(lambda array, after=after: guarded(array, after)) == expected
            for guard in Guarded.live:
                guard.check()
    Guarded.live = []
