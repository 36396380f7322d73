"""fastgrad called from the user's own compiled code: the same bits, from any number of threads."""

import itertools
import pickle
import threading

import numba
import numpy as np
import pytest
from helpers import assert_same_bits, draw_problem, dyadic, run_python
from layout_matrix import arrange
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python

import fastgrad as fg
from fastgrad._core import plan as plans
from fastgrad._core.tuning import tuned
from fastgrad.interop.numba import Network, network, optimizer, workspaces
from fastgrad.kernels import records as at


@numba.njit
def train(net, opt, theta, X, y, grad, steps):
    loss = 0.0
    for _ in range(steps):
        loss, _ = net.loss_and_grad(theta, X, y, out=grad)
        opt.step(theta, grad)
    return loss


@numba.njit
def loss_grad_outputs(net, theta, X, y):
    loss, grad = net.loss_and_grad(theta, X, y)
    return loss, grad, net.predict(theta, X)


@numba.njit
def weighted(net, theta, X, y, s):
    return net.loss_and_grad(theta, X, y, s)


@numba.njit
def predict_into(net, theta, X, out):
    return net.predict(theta, X, out=out)


@numba.njit
def vjp_norms_hvp(net, theta, X, y, v, cotangent):
    product = net.hvp(theta, X, y, v)
    return net.vjp(theta, X, cotangent), net.grad_norms(theta, X, y), product


@numba.njit
def weighted_hvp(net, theta, X, y, v, s):
    return net.hvp(theta, X, y, v, s)


@numba.njit
def weighted_norms(net, theta, X, y, s):
    return net.grad_norms(theta, X, y, s)


@numba.njit
def vjp_into(net, theta, X, cotangent, out):
    return net.vjp(theta, X, cotangent, out=out)


@numba.njit
def norms_into(net, theta, X, y, out):
    return net.grad_norms(theta, X, y, out=out)


@numba.njit
def hvp_into(net, theta, X, y, v, out):
    return net.hvp(theta, X, y, v, out=out)


# networks


def allocations(function, *args):
    _nrt_python.memsys_enable_stats()
    try:
        before = _nrt_python.memsys_get_stats_alloc()
        function(*args)
        return _nrt_python.memsys_get_stats_alloc() - before
    finally:
        _nrt_python.memsys_disable_stats()


# A dtype with a kind of targets is a compilation of some seconds; test_differential.py has all.
@pytest.mark.parametrize("n", [1, 16, 300])
@pytest.mark.parametrize(
    ("loss", "dtype"),
    [("mse", "float64"), ("huber", "float64"), ("logistic", "float64"),
     ("cross_entropy", "float32")],
)  # fmt: skip
def test_a_network_has_the_bits_of_the_python_call(rng, loss, n, dtype):
    net = fg.MLP([5, 16, 3], loss, dtype=dtype, l2=0.1, huber_delta=0.7)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, n, loss, net.dtype)
    got_loss, grad, out = loss_grad_outputs(network(net, n), theta, X, y)
    expected_loss, expected = net.loss_and_grad(theta, X, y)
    assert got_loss == expected_loss
    assert_same_bits(grad, expected)
    assert_same_bits(out, net.predict(theta, X))
    handle = network(net, n)
    assert handle.loss_and_grad(theta, X, y)[0] == expected_loss
    assert_same_bits(handle.predict(theta, X, out=out), out)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "leaky_relu", "identity"])
@pytest.mark.parametrize("loss", ["absolute_error", "quantile", "poisson"])
def test_row28_row29_have_the_bits_of_the_python_call(rng, loss, activation):
    net = fg.MLP([5, 16, 3], loss, activation=activation, l2=0.1, quantile=0.3)
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 30, "mse", net.dtype, True)
    y = np.abs(y)
    found, grad = weighted(network(net, 30, weighted=True), theta, X, y, s)
    expected, expected_grad = net.loss_and_grad(theta, X, y, s)
    assert found == expected
    assert_same_bits(grad, expected_grad)
    handle = network(net, 30)
    assert_same_bits(loss_grad_outputs(handle, theta, X, y)[2], net.predict(theta, X))
    y[4, 1] = -1
    if loss == "poisson":
        with pytest.raises(ValueError, match="y has a value outside 0 to 1, or below 0"):
            loss_grad_outputs(handle, theta, X, y)
    else:
        assert loss_grad_outputs(handle, theta, X, y)[0] == net.loss(theta, X, y)


@pytest.mark.parametrize("n", [1, 16, 300])
@pytest.mark.parametrize(
    ("loss", "dtype"), [("mse", "float64"), ("poisson", "float64"), ("cross_entropy", "float32")]
)
def test_row30_row31_row34_derivatives_have_the_bits_of_the_python_calls(rng, loss, n, dtype):
    net = fg.MLP([5, 16, 3], loss, activation="tanh", dtype=dtype, l2=0.1)
    kind = "cross_entropy" if loss == "cross_entropy" else "mse"
    theta, X, y, s = draw_problem(rng, net.layer_sizes, n, kind, net.dtype, True)
    y = abs(y)
    v, c = (rng.standard_normal(shape).astype(dtype) for shape in (theta.size, (n, 3)))
    expected = (
        fg.jacobians.vjp(net, theta, X, c),
        fg.per_sample.grad_norms(net, theta, X, y),
        fg.curvature.hvp(net, theta, X, y, v),
    )
    handle = pickle.loads(pickle.dumps(network(net, n, derivatives=True)))
    for found, wanted in zip(vjp_norms_hvp(handle, theta, X, y, v, c), expected):
        assert_same_bits(found, wanted)
    python = handle.vjp(theta, X, c), handle.grad_norms(theta, X, y), handle.hvp(theta, X, y, v)
    for found, wanted in zip(python, expected):
        assert_same_bits(found, wanted)
    handle = network(net, n, weighted=True, derivatives=True)
    norms = weighted_norms(handle, theta, X, y, s)
    product = weighted_hvp(handle, theta, X, y, v, s)
    assert_same_bits(norms, fg.per_sample.grad_norms(net, theta, X, y, s))
    assert_same_bits(product, fg.curvature.hvp(net, theta, X, y, v, s))
    assert not weighted_norms(handle, theta, X, y, 0 * s).any()  # nothing is divided by their sum
    with pytest.raises(ValueError, match="negative value"):
        weighted_norms(handle, theta, X, y, -s)
    assert not handle.busy.any()


def test_wrong_arguments_of_derivatives_in_compiled_code(rng):
    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    handle, v, c = network(net, 9, derivatives=True), theta.copy(), y.copy()
    plain, norms, p = network(net, 9), np.empty(9), theta.size
    big = np.empty(400)
    for call, args, words in (
        (vjp_into, (plain, theta, X, c, v), "derivatives=True"),
        (norms_into, (plain, theta, X, y, norms), "derivatives=True"),
        (hvp_into, (plain, theta, X, y, v, big[:p]), "derivatives=True"),
        (vjp_into, (handle, theta[:-1], X, c, v), "theta has the wrong size"),
        (vjp_into, (handle, theta, X[:8], c, v), "X has another number of rows"),
        (vjp_into, (handle, theta, X, c[:8], v), "cotangent has the wrong shape"),
        (vjp_into, (handle, theta, X, c, big[:3]), "out has the wrong size"),
        (vjp_into, (handle, theta, X, c, theta), "out overlaps theta"),
        (vjp_into, (handle, theta, X, c, c.reshape(-1)[:p]), "out overlaps cotangent"),
        (norms_into, (handle, theta, X, y[:8], norms), "y has the wrong shape"),
        (norms_into, (handle, theta, X, y, norms[:8]), "out has the wrong size"),
        (norms_into, (handle, theta, X, y, y.reshape(-1)[:9]), "out overlaps y"),
        (hvp_into, (handle, theta, X, y, v[1:], big[:p]), "v has the wrong size"),
        (hvp_into, (handle, theta, X, y, v, v), "out overlaps v"),
        (hvp_into, (handle, theta, X, y, v, X.reshape(-1)[:p]), "out overlaps X"),
        (hvp_into, (handle, theta, X, y, v, big[:2]), "out has the wrong size"),
    ):
        before = [np.array(a) for a in args[1:]]
        with pytest.raises(ValueError, match=words):
            call(*args)
        for a, b in zip(args[1:], before):
            assert_same_bits(a, b)
    with pytest.raises(ValueError, match="sample_weight is missing"):
        norms_into(network(net, 9, weighted=True, derivatives=True), theta, X, y, norms)
    with pytest.raises(TypingError, match="v has dtype float32; expected float64"):
        hvp_into(handle, theta, X, y, v.astype("f4"), big[:p])
    with pytest.raises(TypingError, match="cotangent has dtype float32; expected float64"):
        vjp_into(handle, theta, X, c.astype("f4"), big[:p])
    with pytest.raises(TypeError, match="derivatives"):
        network(net, 9, derivatives="vjp")
    assert not handle.busy.any()


def test_derivatives_allocate_nothing_where_out_is_given(rng):
    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    handle, out, norms = network(net, 9, derivatives=True), np.empty_like(theta), np.empty(9)
    for call, args in (
        (vjp_into, (theta, X, y, out)),
        (norms_into, (theta, X, y, norms)),
        (hvp_into, (theta, X, y, theta.copy(), out)),
    ):
        call(handle, *args)
        assert allocations(call, handle, *args) < 40  # headers of the arguments


def test_sample_weights(rng):
    net = fg.MLP([5, 8, 3], "cross_entropy")
    theta, X, y, s = draw_problem(rng, net.layer_sizes, 20, "cross_entropy", net.dtype, True)
    loss, grad = weighted(network(net, 20, weighted=True), theta, X, y, s)
    expected_loss, expected = net.loss_and_grad(theta, X, y, s)
    assert loss == expected_loss
    assert_same_bits(grad, expected)


@pytest.mark.parametrize("kind", [fg.SGD, fg.Momentum, fg.RMSprop, fg.Adam])
def test_training_in_one_function_has_the_bits_of_python_steps(rng, kind):
    net = fg.MLP([5, 8, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 20, "mse", net.dtype)
    own, mine = theta.copy(), theta.copy()
    python, compiled = kind(0.01), kind(0.01)
    for _ in range(7):
        loss, grad = net.loss_and_grad(mine, X, y)
        python.step(mine, grad)
    handle = optimizer(compiled, net)
    assert train(network(net, 20), handle, own, X, y, np.empty_like(own), 7) == loss
    assert_same_bits(own, mine)
    assert compiled.steps == 7
    handle.step(own, grad)
    python.step(mine, grad)
    assert_same_bits(own, mine)


def test_nothing_is_allocated_where_out_is_given(rng):
    net = fg.MLP([5, 8, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 20, "mse", net.dtype)
    handle, opt, grad = network(net, 20), optimizer(fg.Adam(), net), np.empty_like(theta)
    out = np.empty((20, 3))
    train(handle, opt, theta, X, y, grad, 1)
    predict_into(handle, theta, X, out)
    counts = [allocations(train, handle, opt, theta, X, y, grad, steps) for steps in (1, 1000)]
    assert counts[0] == counts[1] < 30  # headers of the arguments
    assert allocations(predict_into, handle, theta, X, out) < 30


@numba.njit(parallel=True)
def sweep(net, thetas, X, y, losses, grads):
    for i in numba.prange(len(thetas)):
        losses[i], _ = net.loss_and_grad(thetas[i], X, y, out=grads[i])


@pytest.mark.parametrize("copies", [None, 1])
def test_one_handle_serves_a_parallel_loop(rng, copies):
    net = fg.MLP([4, 16, 2])
    thetas = np.stack([net.init(seed) for seed in range(100)])
    X, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    losses, grads = np.empty(100), np.empty_like(thetas)
    sweep(network(net, 30, copies=copies), thetas, X, y, losses, grads)
    for theta, loss, grad in zip(thetas, losses, grads):
        expected_loss, expected = net.loss_and_grad(theta, X, y)
        assert loss == expected_loss
        assert_same_bits(grad, expected)


@numba.njit(nogil=True)
def many(net, theta, X, y, grad, steps):
    for _ in range(steps):
        net.loss_and_grad(theta, X, y, out=grad)


def test_one_handle_serves_python_threads(rng):
    net = fg.MLP([4, 16, 2])
    theta, X, y = net.init(0), rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    handle, grads = network(net, 30, copies=2), np.empty((4, theta.size))
    many(handle, theta, X, y, grads[0], 1)
    threads = [
        threading.Thread(target=many, args=(handle, theta, X, y, grad, 2000)) for grad in grads
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for grad in grads:
        assert_same_bits(grad, net.loss_and_grad(theta, X, y)[1])
    assert not handle.busy.any()


def test_handles_are_pickled_as_what_they_were_made_from(rng):
    net, opt = fg.MLP([4, 3]), fg.Adam(0.1)
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    handle = pickle.loads(pickle.dumps(network(net, 9)))
    assert isinstance(handle, Network)
    assert loss_grad_outputs(handle, theta, X, y)[0] == net.loss(theta, X, y)
    twin = pickle.loads(pickle.dumps(optimizer(opt, net)))
    other = theta.copy()
    opt.step(theta, np.ones_like(theta))
    twin.step(other, np.ones_like(theta))
    assert_same_bits(theta, other)


# layers and neurons


@numba.njit
def layer(X, W, b, grad_a):
    a, mask = fg.affine_relu(X, W, b)
    return fg.affine(X, W, b), a, mask, fg.affine_relu_backward(grad_a, X, W, mask)


@numba.njit
def one_neuron(w, b, X, y):
    return fg.neuron_loss_and_grad(w, b, X, y)


@numba.njit
def one_weighted_neuron(w, b, X, y, s):
    return fg.neuron_loss_and_grad(w, b, X, y, s)


@numba.njit
def elementwise(Z):
    return fg.relu(Z), fg.relu_mask(Z)


def python_layer(X, W, b, grad_a):
    a, mask = fg.affine_relu(X, W, b)
    return fg.affine(X, W, b), a, mask, fg.affine_relu_backward(grad_a, X, W, mask)


def assert_layers_agree(X, W, b, grad_a):
    *forward, backward = layer(X, W, b, grad_a)
    *expected, expected_backward = python_layer(X, W, b, grad_a)
    for got, wanted in zip([*forward, *backward], [*expected, *expected_backward]):
        assert_same_bits(np.ascontiguousarray(got), np.ascontiguousarray(wanted))


@pytest.mark.parametrize("n, d, k", [(3, 4, 5), (17, 40, 2), (100, 64, 33), (0, 3, 2)])
def test_a_layer_has_the_bits_of_the_python_call(rng, n, d, k):
    X, W, b = (rng.standard_normal(shape) for shape in ((n, d), (d, k), k))
    X[:1, :1] = np.nan
    assert_layers_agree(X, W, b, rng.standard_normal((n, k)))


@numba.njit
def layer_into(X, W, b, grad_a, forward, back):
    z = fg.affine(X, W, b, out=forward[0])
    a, mask = fg.affine_relu(X, W, b, out=(forward[1], forward[2]))
    return z, a, mask, fg.affine_relu_backward(grad_a, X, W, mask, out=back)


@numba.njit
def neuron_into(w, b, X, y, out):
    return fg.neuron_loss_and_grad(w, b, X, y, out=out)


@numba.njit
def elementwise_into(Z, out, mask):
    return fg.relu(Z, out=out), fg.relu_mask(Z, out=mask)


@numba.njit
def repeated(X, W, b, grad_a, y, forward, back, gw, count):
    for _ in range(count):
        for n in range(X.shape[0] - 1, X.shape[0] + 1):  # two plans in turn
            out = forward[0][:n], forward[1][:n], forward[2][:n]
            layer_into(X[:n], W, b, grad_a[:n], out, (back[0][:n], back[1], back[2]))
        neuron_into(b, 0.5, forward[0], y, gw)
        elementwise_into(forward[0], forward[1], forward[2])


def draw_outputs(X, W):
    """(for the ways forward, for the way back), full of what must not be seen again."""
    n, d, k = *X.shape, W.size // len(W)
    rows = (n,) if W.ndim == 1 else (n, k)
    forward = np.full(rows, 7.0), np.full(rows, 7.0), np.full(rows, True)
    back = np.full((n, d), 7.0), np.full(W.shape, 7.0), np.full(k, 7.0)
    return forward, back[: 1 + W.ndim]


@pytest.mark.parametrize("single", [False, True])
def test_layers_write_to_the_arrays_given(rng, single):
    X, W, b = (rng.standard_normal(shape) for shape in ((30, 8), (8, 20), 20))
    grad_a = rng.standard_normal((30, 20))
    if single:
        W, b, grad_a = W[:, 0].copy(), b[0], grad_a[:, 0].copy()
    forward, back = draw_outputs(X, W)
    *got, gradients = layer_into(X, W, b, grad_a, forward, back)
    *expected, expected_gradients = python_layer(X, W, b, grad_a)
    given = [*forward, *back]
    for result, array, wanted in zip([*got, *gradients], given, [*expected, *expected_gradients]):
        assert result.ctypes.data == array.ctypes.data
        assert_same_bits(array, wanted)
    assert_same_bits(gradients[-1], expected_gradients[-1])


def test_layers_and_neurons_allocate_nothing_where_out_is_given(rng):
    X, W, b = (rng.standard_normal(shape) for shape in ((30, 8), (8, 20), 20))
    grad_a, y, gw = rng.standard_normal((30, 20)), rng.standard_normal(30), np.empty(20)
    args = X, W, b, grad_a, y, *draw_outputs(X, W), gw
    repeated(*args, 1)
    counts = [allocations(repeated, *args, count) for count in (1, 100, 1000)]
    assert counts[0] == counts[1] == counts[2] < 30  # headers of the arguments
    *_, gb = fg.affine_relu_backward(grad_a, X, W, fg.affine_relu(X, W, b)[1])
    assert_same_bits(args[6][2], gb)
    z = fg.affine(X, W, b)
    assert_same_bits(gw, fg.neuron_loss_and_grad(b, 0.5, z, y)[1])
    assert_same_bits(args[5][2], fg.relu_mask(z))


@numba.njit(parallel=True)
def many_layers(X, W, b, out):
    for i in numba.prange(len(out)):
        n = 1 + i % 50
        fg.affine(X[:n], W, b, out=out[i, :n])


def test_layers_of_many_shapes_in_a_parallel_loop(rng):
    X, W, b = (rng.standard_normal(shape) for shape in ((50, 8), (8, 20), 20))
    out = np.zeros((3000, 50, 20))
    many_layers(X, W, b, out)
    for n in range(1, 51):
        for result in out[n - 1 :: 50]:
            assert_same_bits(result[:n], fg.affine(X[:n], W, b))
    assert not workspaces._slots[:, workspaces.BUSY].any()


def test_outputs_that_do_not_fit(rng):
    X, W, b, grad_a = np.ones((30, 8)), np.ones((8, 20)), np.ones(20), np.ones((30, 20))
    (z, a, mask), (gX, gW, gb) = draw_outputs(X, W)
    for forward, back, message in (
        ((z[:9], a, mask), (gX, gW, gb), "out has the wrong shape"),
        ((z, a, mask[:9]), (gX, gW, gb), "out has the wrong shape"),
        ((z, a, mask), (gX[:9], gW, gb), r"out\[0\] has the wrong shape"),
        ((z, a, mask), (gX, gW[:7], gb), r"out\[1\] has the wrong shape"),
        ((z, a, mask), (gX, gW, gb[:7]), r"out\[2\] has the wrong size"),
    ):
        with pytest.raises(ValueError, match=message):
            layer_into(X, W, b, grad_a, forward, back)
    with pytest.raises(ValueError, match="out has the wrong size for w"):
        neuron_into(b, 0.5, z, np.ones(30), np.empty(3))
    with pytest.raises(TypingError, match=r"out is a \w*Tuple.*; expected a tuple of 3 arrays"):
        layer_into(X, W, b, grad_a, (z, a, mask), (gX, gW))
    with pytest.raises(TypingError, match=r"out\[0\] is a none; expected an array"):
        layer_into(X, W, b, grad_a, (z, a, mask), (None, gW, gb))
    with pytest.raises(TypingError, match="out has dtype float32; expected float64"):
        neuron_into(b, 0.5, z, np.ones(30), np.empty(20, np.float32))
    z.flags.writeable = False
    with pytest.raises(TypingError, match="out is read-only"):
        layer_into(X, W, b, grad_a, (z, a, mask), (gX, gW, gb))


@numba.njit
def layer_with_options(X, W, b, grad_a):
    a, mask = fg.affine_relu(X, W, b, threads=2)
    fg.neuron_loss_and_grad(W[:, 0].copy(), b[0], X, a[:, 0].copy(), threads=1)
    z = fg.affine(X, W, b, threads=1)
    return z, fg.affine_relu_backward(grad_a, X, W, mask, need_gX=False, threads=1)


@numba.njit
def layer_with_a_variable(grad_a, X, W, mask, wanted):
    return fg.affine_relu_backward(grad_a, X, W, mask, need_gX=wanted)


def test_a_layer_takes_the_options_of_the_python_call(rng):
    X, W, b = (rng.standard_normal(shape) for shape in ((30, 8), (8, 20), 20))
    grad_a = rng.standard_normal((30, 20))
    z, (gX, gW, gb) = layer_with_options(X, W, b, grad_a)
    mask = z > 0
    nothing, eW, eb = fg.affine_relu_backward(grad_a, X, W, mask, need_gX=False)
    assert gX is nothing is None
    assert_same_bits(gW, eW)
    assert_same_bits(gb, eb)
    with pytest.raises(TypingError, match=r"need_gX is a bool.*; expected the constant"):
        layer_with_a_variable(grad_a, X, W, mask, True)


@pytest.mark.parametrize("n, d", [(3, 4), (700, 30)])
def test_a_neuron_has_the_bits_of_the_python_call(rng, n, d):
    X, w, y = (rng.standard_normal(shape) for shape in ((n, d), d, n))
    got, expected = one_neuron(w, 0.5, X, y), fg.neuron_loss_and_grad(w, 0.5, X, y)
    assert (got[0], got[2]) == (expected[0], expected[2])
    assert_same_bits(got[1], expected[1])
    s = rng.random(n)
    got, expected = one_weighted_neuron(w, 0.5, X, y, s), fg.neuron_loss_and_grad(w, 0.5, X, y, s)
    assert got[0] == expected[0]
    assert_same_bits(got[1], expected[1])
    Z = rng.standard_normal((3, 4, 5))
    Z[0, 0, :2] = np.nan, 0
    activation, mask = elementwise(Z)
    assert_same_bits(activation, fg.relu(Z))
    assert_same_bits(mask, fg.relu_mask(Z))


@numba.njit
def plan_of_layer(vector, d, k, n, itemsize, want, tuned):
    return plans.write_plan(
        vector, (d, k), n, itemsize, want, 0, False, False, 1, 0, 1, False, False, 2, tuned
    )


WANTED = [at.OUTPUTS, at.GRADIENT | at.INPUT_GRADIENT, at.LOSS | at.GRADIENT]


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("want", WANTED)
def test_compiled_arithmetic_makes_the_plans_of_python(itemsize, want):
    """One function writes both; Numba's integers, divisions and types are what is tested."""
    compiled, python = (np.zeros(at.PLAN.size + at.LAYER.size, np.int64) for _ in range(2))
    for n, d, k in itertools.product(
        (1, 4, 5, 16, 17, 100, 240, 241, 1000, 5000, 70_000),
        (1, 3, 8, 54, 64, 300, 2000),
        (1, 2, 5, 8, 16, 64, 100, 1024),
    ):
        compiled[:], python[:] = 0, 0
        sizes = plan_of_layer(compiled, d, k, n, itemsize, want, tuned())
        assert sizes == plan_of_layer.py_func(python, d, k, n, itemsize, want, tuned())
        np.testing.assert_array_equal(compiled, python, err_msg=f"{(n, d, k)}")


# the cache, and other modules

MODULE = """
import numba, numpy as np, fastgrad as fg, fastgrad.interop.numba

@numba.njit(cache=True)
def run(net, opt, theta, X, y):
    grad = np.empty_like(theta)
    loss = 0.0
    for _ in range(5):
        loss, _ = net.loss_and_grad(theta, X, y, out=grad)
        opt.step(theta, grad)
    return loss + fg.relu(net.predict(theta, X)).sum()

@numba.njit(cache=True)
def layers(X, W, b):
    a, mask = fg.affine_relu(X, W, b)
    return fg.affine(X, W, b), fg.affine_relu_backward(a, X, W, mask)

@numba.njit(cache=True)
def neuron(w, X, y, s):
    return fg.neuron_loss_and_grad(w, 0.5, X, y, s)
"""

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, fastgrad as fg, mine
from fastgrad.interop.numba import network, optimizer
net = fg.MLP([3, 8, 2])
theta = net.init(0)
X = np.linspace(-1, 1, 30).reshape(10, 3)
value = mine.run(network(net, 10), optimizer(fg.Adam(0.01), net), theta, X, X[:, :2].copy())
print(float(value).hex(), sum(mine.run.stats.cache_hits.values()))
"""

SYMBOLS = """
import re
mine.layers(X, np.ones((3, 2)), np.ones(2))
mine.neuron(np.ones(3), X, X[:, 0].copy(), np.ones(10))
for function in (mine.run, mine.layers, mine.neuron):
    for text in function.inspect_llvm().values():
        print(*{word for word in re.findall(r"@(fastgrad\\w*)", text)})
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A module's folder, and what the first process that uses it says: it compiles."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "mine.py").write_text(MODULE)
    return folder, run_python(PROGRAM + SYMBOLS, folder).split()


def test_a_cached_function_of_another_module_is_loaded_by_the_next_process(module):
    tmp_path, (first, hits, *_) = module
    again, more = run_python(PROGRAM, tmp_path).split()
    assert (hits, more) == ("0", "1")
    assert first == again
    other = "from fastgrad.interop.numba import lazy\nlazy._table[lazy._STAMP_AT] += 1\n"
    with pytest.raises(AssertionError, match="compiled and cached with another version"):
        run_python(other + PROGRAM, tmp_path)


def test_code_that_numba_caches_holds_no_symbol_but_the_tables(module):
    """A symbol that an upgrade takes away would end the process that loads the code."""
    _, (_, _, *found) = module
    assert set(found) == {"fastgrad_kernels"}


def test_the_import_compiles_nothing():
    out = run_python(
        """
        import numba
        from numba.core import event
        with event.install_recorder("numba:compile") as recorder:
            import fastgrad, fastgrad.interop.numba
        print(len(recorder.buffer))
        """
    )
    assert int(out) == 0


# errors


def test_wrong_arguments_in_compiled_code(rng):
    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    handle = network(net, 9)
    for wrong, message in (
        ((theta[:-1], X, y), "theta has the wrong size"),
        ((theta, X[:8], y), "X has another number of rows"),
        ((theta, X[:, :3].copy(), y), "X has the wrong number of columns"),
        ((theta, X, y[:, :2].copy()), "y has the wrong shape"),
    ):
        with pytest.raises(ValueError, match=message):
            loss_grad_outputs(handle, *wrong)
    with pytest.raises(ValueError, match="weighted=True"):
        weighted(handle, theta, X, y, np.ones(9))
    with pytest.raises(ValueError, match="sample_weight is missing"):
        loss_grad_outputs(network(net, 9, weighted=True), theta, X, y)
    with pytest.raises(TypingError, match="X has dtype float32; expected float64"):
        loss_grad_outputs(handle, theta, X.astype(np.float32), y)
    with pytest.raises(TypingError, match=r"use np\.ascontiguousarray\(X\)"):
        loss_grad_outputs(handle, theta, np.asfortranarray(X), y)
    labelled = fg.MLP([4, 3], "cross_entropy")
    with pytest.raises(ValueError, match="y has a label that is not 0 to k - 1"):
        loss_grad_outputs(network(labelled, 9), theta, X, np.full(9, 3))
    with pytest.raises(ValueError, match="y has a value outside 0 to 1"):
        loss_grad_outputs(network(fg.MLP([4, 3], "logistic"), 9), theta, X, y + 9)
    assert not handle.busy.any()


def test_compiled_code_writes_to_nothing_that_must_not_change(rng):
    @numba.njit
    def step(net, opt, theta, X, y, out):
        net.loss_and_grad(theta, X, y, out=out)
        opt.step(theta, out)

    net = fg.MLP([4, 4])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    handle, opt, p = network(net, 9), optimizer(fg.SGD(0.1), net), net.n_parameters
    both, grad = np.concatenate([theta, theta]), np.empty_like(theta)
    for out in (both[:p], both[p - 1 : -1], X.reshape(-1)[:p], y.reshape(-1)[:p]):
        with pytest.raises(ValueError, match="out overlaps"):
            step(handle, opt, both[:p], X, y, out)
    assert not handle.busy.any()
    frozen = theta.copy()
    frozen.setflags(write=False)
    with pytest.raises(TypingError, match="out is read-only"):
        step(handle, opt, theta, X, y, frozen)
    with pytest.raises(TypingError, match="theta is read-only"):
        step(handle, opt, frozen, X, y, grad)


@numba.njit
def optimizer_step(opt, theta, grad):
    opt.step(theta, grad)


def compiled_calls(dtype):
    """(name, function, arrays by name) of what compiled code can call, twins of Python's."""
    rng = np.random.default_rng(11)
    X, W, b, w = (dyadic(rng, shape, dtype) for shape in ((7, 5), (5, 3), 3, 5))
    grad_a, y, s = dyadic(rng, (7, 3), dtype), dyadic(rng, 7, dtype), np.ones(7, dtype)
    net = fg.MLP([5, 4, 3], dtype=dtype)
    theta, _, Y, _ = draw_problem(rng, net.layer_sizes, 7, "mse", net.dtype)
    handle, opt = network(net, 7, derivatives=True), optimizer(fg.SGD(0.5), net)
    yield "layer", layer, {"X": X, "W": W, "b": b, "grad_a": grad_a}
    yield "neuron", lambda w, X, y: one_neuron(w, 0.5, X, y), {"w": w, "X": X, "y": y}

    def weighted_neuron(w, X, y, sample_weight):
        return one_weighted_neuron(w, 0.5, X, y, sample_weight)

    arrays = {"w": w, "X": X, "y": y, "sample_weight": s}
    yield "weighted neuron", weighted_neuron, arrays
    yield "into gw", lambda out: neuron_into(w, 0.5, X, y, out), {"out": np.zeros_like(w)}
    yield "relu", elementwise, {"Z": X}

    def both(theta, X, y):
        return loss_grad_outputs(handle, theta, X, y)

    yield "network", both, {"theta": theta, "X": X, "y": Y}
    yield "predict", lambda out: predict_into(handle, theta, X, out), {"out": np.zeros_like(Y)}

    def derivatives(theta, X, y, v, cotangent):
        return vjp_norms_hvp(handle, theta, X, y, v, cotangent)

    arrays = {"theta": theta, "X": X, "y": Y, "v": theta[::-1].copy(), "cotangent": Y[::-1].copy()}
    yield "derivatives", derivatives, arrays

    def product(out):
        return hvp_into(handle, theta, X, Y, theta[::-1].copy(), out)

    yield "into a product", product, {"out": np.zeros_like(theta)}

    def step(theta, grad):
        optimizer_step(opt, theta, grad)
        return theta

    yield "optimizer", step, {"theta": theta, "grad": theta[::-1].copy()}


def flat_bits(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [part for r in parts for part in (flat_bits(r) if isinstance(r, tuple) else [bits(r)])]


def bits(array):
    return np.asarray(array).tobytes()


def test_byte_swapped_arrays_are_an_error_in_compiled_code_whatever_was_seen_before():
    """Numba takes a byte-swapped array for an unaligned one that it has seen."""
    for name, function, arrays in compiled_calls(np.dtype(np.float64)):
        expected = flat_bits(function(**{key: a.copy() for key, a in arrays.items()}))
        for key, order, alignment in itertools.product(
            arrays, ("native", "swapped"), ("unaligned", "aligned")
        ):
            given = {other: a.copy() for other, a in arrays.items()}
            given[key] = arrange(arrays[key], (order, alignment, "C", "writable"))
            before = given[key].tobytes()
            if order == "native":
                assert flat_bits(function(**given)) == expected, (name, key, alignment)
                continue
            with pytest.raises(
                (ValueError, TypingError), match=f"(?i){key} is byte-swapped|pyobject"
            ):
                function(**given)
            assert given[key].tobytes() == before


def test_views_in_compiled_code_have_the_byte_order_of_what_came_from_python(rng):
    @numba.njit
    def rows(net, theta, X, y):
        return net.loss_and_grad(theta, X[2:7], y[2:7])

    net = fg.MLP([4, 3])
    theta, X, y, _ = draw_problem(rng, net.layer_sizes, 9, "mse", net.dtype)
    layout = "native", "unaligned", "C", "writable"
    rows(network(net, 5), theta, arrange(X, layout), y)
    with pytest.raises(ValueError, match="X is byte-swapped"):
        rows(network(net, 5), theta, arrange(X, ("swapped", *layout[1:])), y)


def test_outputs_that_overlap_an_input_in_compiled_code():
    """As in Python: nothing is written."""
    memory = np.arange(400.0)
    X, W, b = (memory[:40].reshape(8, 5), memory[40:55].reshape(5, 3), memory[55:58])
    grad_a, mask = memory[60:84].reshape(8, 3), np.ones((8, 3), bool)
    z = memory[100:124].reshape(8, 3)
    before = memory.copy()

    def at(first, *shape):
        return memory[first : first + int(np.prod(shape))].reshape(shape)

    free = at(200, 8, 3), at(230, 8, 3), mask.copy()
    back = at(260, 8, 5), at(310, 5, 3), at(330, 3)
    for forward, backward, words in (
        ((at(39, 8, 3), *free[1:]), back, "out overlaps X"),
        ((at(54, 8, 3), *free[1:]), back, "out overlaps w"),
        ((at(57, 8, 3), *free[1:]), back, "out overlaps b"),
        ((free[0], at(20, 8, 3), free[2]), back, r"out\[0\] overlaps X"),
        ((free[0], at(230, 8, 3), at(240, 3).view(bool).reshape(8, 3)), back,
         r"out\[1\] overlaps out\[0\]"),
        ((*free[:2], at(40, 3).view(bool).reshape(8, 3)), back, r"out\[1\] overlaps w"),
        (free, (at(1, 8, 5), *back[1:]), r"out\[0\] overlaps X"),
        (free, (back[0], at(83, 5, 3), back[2]), r"out\[1\] overlaps grad_a"),
        (free, (*back[:2], at(42, 3)), r"out\[2\] overlaps W"),
        (free, (back[0], at(261, 5, 3), back[2]), r"out\[0\] overlaps out\[1\]"),
        (free, (*back[:2], at(312, 3)), r"out\[2\] overlaps out\[1\]"),
        (free, (*back[:2], at(262, 3)), r"out\[2\] overlaps out\[0\]"),
    ):  # fmt: skip
        memory[:] = before
        with pytest.raises(ValueError, match=words):
            layer_into(X, W, b, grad_a, forward, backward)
        np.testing.assert_array_equal(memory[:124], before[:124])
    memory[:] = before
    for out, words in ((at(3, 3), "X"), (b, "w"), (at(101, 3), "y")):
        with pytest.raises(ValueError, match=f"out overlaps {words}"):
            neuron_into(b, 0.5, at(0, 8, 3), at(100, 8), out)
    for out, free_mask in ((at(101, 8, 3), mask), (z.copy(), at(102, 3).view(bool).reshape(8, 3))):
        with pytest.raises(ValueError, match="out overlaps Z"):
            elementwise_into(z, out, free_mask)
    np.testing.assert_array_equal(memory, before)
    elementwise_into(z, z, mask)  # the same array: in place


@pytest.mark.parametrize("dtype, tiny, great", [("f4", 1e-40, 1e38), ("f8", 1e-300, 1e307)])
def test_weights_have_the_bounds_of_python_in_compiled_code(rng, dtype, tiny, great):
    X, w, y = (rng.standard_normal(shape).astype(dtype) for shape in ((9, 4), 4, 9))
    net = fg.MLP([4, 1], dtype=dtype)
    handle, theta = network(net, 9, weighted=True), net.init(0)
    for value in (tiny, great):
        s = np.full(9, value, dtype)
        with pytest.raises(ValueError, match="sample_weight sums to"):
            fg.neuron_loss_and_grad(w, 0.5, X, y, s)
        with pytest.raises(ValueError, match="sample_weight has a sum out of range"):
            one_weighted_neuron(w, 0.5, X, y, s)
        with pytest.raises(ValueError, match="sample_weight has a sum out of range"):
            weighted(handle, theta, X, y[:, None].copy(), s)
    s = np.full(9, np.nan, dtype)  # not hidden
    assert np.isnan(one_weighted_neuron(w, 0.5, X, y, s)[0])


def test_a_learning_rate_written_in_compiled_code_is_checked():
    net = fg.MLP([2, 1], dtype="float32")
    theta = net.init(0)
    handle = optimizer(fg.SGD(0.1), net)
    for rate in (1e39, -1.0, np.nan):
        handle.hyper[0] = rate
        with pytest.raises(ValueError, match="the learning rate, is negative, NaN or"):
            optimizer_step(handle, theta, theta.copy())
    handle.hyper[0] = 0.5
    optimizer_step(handle, theta, theta.copy())
    with pytest.raises(ValueError, match="theta overlaps grad"):
        optimizer_step(handle, theta, theta)


@pytest.mark.parametrize(
    ("s", "message"), [(-np.ones(9), "negative value"), (np.zeros(9), "zero everywhere")]
)
def test_weights_that_cannot_be_in_compiled_code(rng, s, message):
    X, w, y = rng.standard_normal((9, 4)), np.ones(4), np.ones(9)
    with pytest.raises(ValueError, match=message):
        one_weighted_neuron(w, 0.5, X, y, s)


def test_wrong_arguments_in_python():
    net = fg.MLP([4, 3])
    with pytest.raises(TypeError, match="net is a int; expected an MLP"):
        network(3, 9)
    with pytest.raises(ValueError, match="n is 0"):
        network(net, 0)
    with pytest.raises(TypeError, match="opt is a str"):
        optimizer("adam", net)
    with pytest.raises(TypeError, match="net is a int"):
        optimizer(fg.Adam(), 3)
    with pytest.raises(ValueError, match="expected a constant"):
        optimizer(fg.Adam(lambda step: 0.1), net)


@pytest.mark.parametrize("passed", ["argument", "tuple", "list", "global", "optimizer"])
def test_what_was_not_prepared_is_an_error_that_says_how(passed):
    net, optimizer = fg.MLP([2, 1]), fg.Adam()
    words = (
        r"opt = fgn\.optimizer\(" if passed == "optimizer" else r"step = fgn\.network\(net, n=row"
    )
    if passed == "global":

        @numba.njit
        def function():
            return net.n_inputs

        arguments = ()
    else:

        @numba.njit
        def function(given):
            return given

        arguments = {"argument": (net,), "tuple": ((1, net),), "list": ([net],),
                     "optimizer": (optimizer,)}[passed]  # fmt: skip
    with pytest.raises(numba.TypingError, match=words):
        function(*arguments)
