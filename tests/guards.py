"""Calls whose every array lies flush against an unreadable page: what `test_memory.py` sweeps.

Inputs are copied there; outputs are caught by putting a guarded `empty` and `zeros` in the place of
NumPy's in the modules that allocate, and workspaces are moved there when they are made. Outputs and
workspaces start as NaN, so that a read of what was never written shows as well. What is left of an
array's own pages holds a canary. A call is made twice: the second takes the fast path, if there is
one.
"""

import ctypes
import mmap
from contextlib import contextmanager
from itertools import pairwise
from unittest.mock import patch

import numba
import numpy as np
from helpers import assert_same_bits, draw_problem, dyadic, forget_plans

import fastgrad as fg
from fastgrad import _matrices, curvature, dense, jacobians, network, neuron, per_sample, stack
from fastgrad._core import calls, csr, gram, workspace
from fastgrad._training import stepper
from fastgrad._training.stepper import NO_LOSS, Stepper
from fastgrad.interop.numba import network as handle_of
from fastgrad.interop.numba import workspaces
from fastgrad.kernels.records import CALL
from fastgrad.losses import LOSSES

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

    after, live, turn = True, [], 0

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=float):
        guard = Guard(shape, dtype, Guarded.after)
        if guard.array.dtype.kind == "f":
            guard.array.fill(np.nan)
        Guarded.live.append(guard)
        return guard.array

    def empty_like(self, array):
        return self.empty(array.shape, array.dtype)

    def zeros(self, shape, dtype=float):
        array = self.empty(shape, dtype)
        array.fill(0)
        return array


def guarded(array, after):
    guard = Guard(array.shape, array.dtype, after)
    guard.array[...] = array
    Guarded.live.append(guard)
    return guard.array


WORK_UNIT = 8  # words: a workspace begins at a whole vector


def moved(buffer, before=0):
    """A workspace's words in a guard, and so the addresses of its CALL; `before` words come too."""
    words = -(-(before + buffer.size) // WORK_UNIT) * WORK_UNIT
    guard = Guard((words,), float, Guarded.after)
    Guarded.live.append(guard)
    guard.array.fill(np.nan)
    here, there = (a.__array_interface__["data"][0] for a in (buffer, guard.array[before:]))
    work = guard.array[before : before + buffer.size]
    work[:] = buffer
    for field in (CALL.plan, CALL.worker, CALL.sums, CALL.work):
        work.view(np.int64)[field] += there - here
    return work


new_workspace = workspace.Plan._new_workspace


@contextmanager
def everything_guarded(after):
    """What is allocated here: outputs, workspaces, what training gathers into."""
    Guarded.after, Guarded.live, Guarded.turn = after, [], Guarded.turn + 1
    own = Guarded()
    forget_plans()
    with (
        patch.object(dense, "np", own), patch.object(network, "np", own),
        patch.object(neuron, "np", own), patch.object(workspace, "np", own),
        patch.object(stack, "np", own), patch.object(csr, "np", own),
        patch.object(stepper, "np", own), patch.object(network, "_empty", own.empty),
        patch.object(csr, "_room", lambda plan, entries: own.empty(2 * entries, plan.dtype)),
        patch.object(calls, "np", own), patch.object(curvature, "np", own),
        patch.object(_matrices, "np", own), patch.object(jacobians, "np", own),
        patch.object(per_sample, "np", own), patch.object(gram, "np", own),
        patch.object(neuron, "_empty", own.empty),
        patch.object(workspace.Plan, "_new_workspace", lambda plan: moved(new_workspace(plan))),
    ):  # fmt: skip
        yield
    for guard in Guarded.live:
        guard.check()
    Guarded.live = []
    forget_plans()


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def check(function, *arrays):
    """The bits of one thread with every array guarded, after and before, on as many threads as are
    set, twice; nothing beside the arrays written."""
    with fg.num_threads(1):
        expected = [np.array(part) for part in parts(function(*arrays))]
    for after in (True, False):
        with everything_guarded(after):
            inputs = [guarded(a, after) for a in arrays]
            for _ in range(2):
                for a, b in zip(parts(function(*inputs)), expected):
                    assert_same_bits(a, b)
            for a, b in zip(inputs, arrays):
                assert_same_bits(a, b)


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


def check_network(rng, n, sizes, dtype, loss, weighted, activation="relu"):
    sizes = sizes[:-1] + [max(LOSSES[loss].least_outputs, sizes[-1])]
    arrays = draw_problem(rng, sizes, n, loss, dtype, weighted)
    arrays = arrays if weighted else arrays[:3]
    out = np.empty(sum((d + 1) * k for d, k in pairwise(sizes)), dtype)
    nets = {}

    def net_of(key):  # one for each way arrays lie, so that no plan was made before
        options = {"l2": 0.1, "activation": activation, "dtype": dtype}
        return nets.setdefault((Guarded.turn, key), fg.MLP(sizes, loss, **options))

    def step(*arrays):
        return net_of("step").loss_and_grad(*arrays)

    def step_out(out, *arrays):
        loss_, grad = net_of("out").loss_and_grad(*arrays, out=out)
        assert grad is out
        return loss_, grad.copy()

    def others(*arrays):
        net = net_of("others")
        return net.grad_input(*arrays), net.predict(*arrays[:2]), net.loss(*arrays)

    check(step, *arrays)
    check(others, *arrays)
    if LOSSES[loss].takes_logits:
        check(lambda *a: net_of("proba").predict_proba(*a), *arrays[:2])
    plain = step_out(out, *arrays)
    for after in (True, False):
        with everything_guarded(after):
            flush, *inputs = (guarded(a, after) for a in (out, *arrays))
            for _ in range(2):
                flush.fill(np.nan)
                assert_same_bits(step_out(flush, *inputs)[1], plain[1])
                assert_same_bits(flush, plain[1])


def check_neuron(rng, n, d, dtype, weighted):
    w, X, y = dyadic(rng, d, dtype), dyadic(rng, (n, d), dtype), dyadic(rng, n, dtype)
    s = [rng.integers(1, 4, n).astype(dtype)] if weighted else []
    check(lambda w, X, y, *s: fg.neuron_loss_and_grad(w, 0.5, X, y, *s), w, X, y, *s)
    check(lambda w, X: fg.neuron_grad(w, 0.5, X), w, X)
    check(fg.relu, X)
    check(fg.relu_mask, X)


def check_derivatives(rng, n, sizes, dtype, loss, weighted, activation="relu"):
    """Products with Jacobians and with second derivatives, and for few parameters the matrices."""
    sizes = sizes[:-1] + [max(LOSSES[loss].least_outputs, sizes[-1])]
    theta, X, y, *s = draw_problem(rng, sizes, n, loss, dtype, weighted)
    s = s if weighted else []
    c, v, u = (dyadic(rng, shape, dtype) for shape in ((n, sizes[-1]), theta.size, X.shape))

    def net():
        return fg.MLP(sizes, loss, l2=0.1, activation=activation, dtype=dtype)

    def factors(*arrays):
        return tuple(part for pair in curvature.kfac_factors(net(), *arrays) for part in pair)

    check(lambda *a: jacobians.vjp(net(), *a, need_gX=True), theta, X, c)
    check(lambda *a: jacobians.jvp(net(), *a), theta, X, v)
    check(lambda *a: jacobians.jvp(net(), *a), theta, X, v, u)
    check(lambda *a: curvature.hvp(net(), *a), theta, X, y, v, *s)
    check(lambda *a: curvature.ggn_vp(net(), *a), theta, X, y, v, *s)

    def of_X(function):
        return lambda v_X, *a: function(net(), *a, v_X=v_X, need_X=True)

    check(of_X(curvature.hvp), u, theta, X, y, v, *s)
    check(of_X(curvature.output_hvp), u, theta, X, c, v)
    check(lambda *a: curvature.ggn_diagonal(net(), *a), theta, X, y, *s)
    check(factors, theta, X, y, *s)
    if n * sizes[-1] * theta.size < 10**5:
        check(lambda *a: jacobians.jacobian(net(), *a), theta, X)
        check(lambda *a: jacobians.input_jacobian(net(), *a), theta, X)
    if theta.size < 500:
        check(lambda *a: curvature.hessian(net(), *a), theta, X, y, *s)
        check(lambda *a: curvature.ggn(net(), *a), theta, X, y, *s)


def check_per_sample(rng, n, sizes, dtype, loss, weighted):
    """Two sets of samples, of n rows and of some more."""
    sizes = sizes[:-1] + [max(LOSSES[loss].least_outputs, min(sizes[-1], 20))]
    theta, X, y, s = draw_problem(rng, sizes, n, loss, dtype, weighted)
    _, X2, y2, _ = draw_problem(rng, sizes, n + 3, loss, dtype)
    s = [s] if weighted else []

    def net_of():
        return fg.MLP(sizes, loss, l2=0.1, dtype=dtype)

    check(lambda *a: per_sample.grad_norms(net_of(), *a), theta, X, y, *s)
    check(lambda *a: per_sample.grads(net_of(), *a), theta, X, y, *s)
    check(lambda *a: per_sample.clipped_loss_and_grad(net_of(), *a[:3], 0.5, *a[3:]),
          theta, X, y, *s)  # fmt: skip
    check(lambda *a: per_sample.gram(net_of(), *a), theta, X, y, X2, y2)
    check(lambda *a: per_sample.gram(net_of(), *a), theta, X, y)
    check(lambda *a: per_sample.ntk(net_of(), *a), theta, X, X2)
    check(lambda *a: per_sample.ntk(net_of(), *a, trace=True), theta, X)


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


# training


def check_training(rng, n, m, sizes, dtype, loss, weighted, threads, optimizer):
    """Steps over batches of m rows, drawn with repetition, the last one shorter."""
    sizes = sizes[:-1] + [max(LOSSES[loss].least_outputs, sizes[-1])]
    theta, X, y, s = draw_problem(rng, sizes, n, loss, dtype, weighted)
    order = rng.integers(0, n, 2 * m + m // 2)
    order[[0, -1]] = n - 1, 0
    arrays = [X, y.reshape(-1), s, order]

    def trained(make, threads):
        net = fg.MLP(sizes, loss, dtype=dtype, l2=0.1)
        opt, own = optimizer.copy(), make(theta)
        opt._state = make(opt.prepare(theta.size, theta.dtype)[0])
        steps = Stepper(net, own, opt, weighted, threads)
        inputs = [None if a is None else make(a) for a in arrays]
        total = steps._call(threads > 1, NO_LOSS, *inputs, m)
        for a, b in zip(inputs, arrays):
            assert b is None or a.tobytes() == b.tobytes(), "an input has changed"
        assert np.isfinite(total).all() and np.isfinite(own).all()
        return total, own.tobytes(), opt._state.tobytes()

    forget_plans()
    expected = trained(np.array, 1)
    for after in (True, False):
        with everything_guarded(after):
            assert trained(lambda array, after=after: guarded(array, after), threads) == expected


# compiled code


@numba.njit(cache=True)
def compiled_network(net, theta, X, y, out):
    return net.loss_and_grad(theta, X, y, out=out)[0]


@numba.njit(cache=True)
def compiled_weighted_network(net, theta, X, y, s, out):
    return net.loss_and_grad(theta, X, y, s, out=out)[0]


@numba.njit(cache=True)
def compiled_predict(net, theta, X, out):
    return net.predict(theta, X, out=out)


@numba.njit(cache=True)
def compiled_derivatives(net, theta, X, y, v, cotangent, gtheta, norms, product):
    net.vjp(theta, X, cotangent, out=gtheta)
    net.grad_norms(theta, X, y, out=norms)
    net.hvp(theta, X, y, v, out=product)


@numba.njit(cache=True)
def compiled_layer(X, W, b, a, mask):
    fg.affine_relu(X, W, b, out=(a, mask))


@numba.njit(cache=True)
def compiled_back(grad_a, X, W, mask, gX, gW, gb):
    fg.affine_relu_backward(grad_a, X, W, mask, out=(gX, gW, gb))


@numba.njit(cache=True)
def compiled_neuron(w, b, X, y, out):
    loss, _, gb = fg.neuron_loss_and_grad(w, b, X, y, out=out)
    return loss, gb


def guarded_handle(handle):
    """Of one copy, its workspaces moved."""
    names = "gradient", "forward", "back", "norms", "curved"
    there = {name: getattr(handle, name) for name in names if len(getattr(handle, name))}
    places = {name: moved(buffer[0]).reshape(1, -1) for name, buffer in there.items()}
    return handle._replace(**places)


def move_slots():
    """The workspaces of layers and neurons that compiled code has made, to guards."""
    before = 2 * workspaces.LINE
    for slot in workspaces._slots:
        if slot[workspaces.WORDS]:
            start = int(slot[workspaces.WORK]) - 8 * before
            size = before + int(slot[workspaces.WORDS])
            words = np.frombuffer((ctypes.c_double * size).from_address(start))
            work = moved(words[before:], before)
            guard = Guarded.live[-1].array
            guard[:before] = words[:before]
            slot[workspaces.WORK] = work.ctypes.data


def forget_slots():
    """Their memory is lost: a guard cannot be given back to the allocator."""
    workspaces._slots[...] = 0


def check_compiled(function, outs, *arrays):
    """What compiled code writes to `outs`, with every array and workspace guarded, is what it wrote
    without. `function(*arrays, *outs)`; an argument that is no array is passed on."""
    forget_slots()
    expected = [np.zeros(*out) for out in outs]
    result = function(*arrays, *expected)
    for after in (True, False):
        moved_from, Guarded.after, Guarded.live = Guarded.live, after, []
        move_slots()
        del moved_from
        own = Guarded()
        got = [own.empty(*out) for out in outs]
        inputs = [guarded(a, after) if type(a) is np.ndarray else a for a in arrays]
        inputs = [guarded_handle(a) if hasattr(a, "forward") else a for a in inputs]
        assert function(*inputs, *got) == result
        for a, b in zip(got, expected):
            assert_same_bits(a, b)
        for guard in Guarded.live:
            guard.check()
    forget_slots()
    Guarded.live = []


def check_compiled_network(rng, n, sizes, dtype, loss, weighted, curved):
    """`curved`: with derivatives, where there are no weights."""
    sizes = sizes[:-1] + [max(LOSSES[loss].least_outputs, sizes[-1])]
    arrays = draw_problem(rng, sizes, n, loss, dtype, weighted)
    net = fg.MLP(sizes, loss, dtype=dtype, l2=0.1)
    handle = handle_of(net, n, weighted, copies=1)
    step = compiled_weighted_network if weighted else compiled_network
    arrays = arrays if weighted else arrays[:3]
    check_compiled(step, [(arrays[0].size, dtype)], handle, *arrays)

    def predict(net, theta, X, out):
        compiled_predict(net, theta, X, out)

    check_compiled(predict, [((n, sizes[-1]), dtype)], handle, *arrays[:2])
    if curved and not weighted:
        p, handle = arrays[0].size, handle_of(net, n, copies=1, derivatives=True)
        given = *arrays, dyadic(rng, p, dtype), dyadic(rng, (n, sizes[-1]), dtype)
        check_compiled(compiled_derivatives, [(m, dtype) for m in (p, n, p)], handle, *given)


def check_compiled_layer(rng, n, d, k, dtype):
    X, W, b = dyadic(rng, (n, d), dtype), dyadic(rng, (d, k), dtype), dyadic(rng, k, dtype)
    check_compiled(compiled_layer, [((n, k), dtype), ((n, k), bool)], X, W, b)
    grad_a, mask = dyadic(rng, (n, k), dtype), rng.random((n, k)) < 0.5
    outs = [((n, d), dtype), ((d, k), dtype), (k, dtype)]
    check_compiled(compiled_back, outs, grad_a, X, W, mask)
    w, y = W[:, 0].copy(), dyadic(rng, n, dtype)
    check_compiled(compiled_neuron, [(d, dtype)], w, 0.5, X, y)
