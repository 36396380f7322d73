"""What users write: parallel loops of their own with fastgrad inside, in Python threads or not."""

import threading

import numba
import numpy as np
from workload import all_bits, work

import fastgrad as fg
from fastgrad.interop.numba import network


@numba.njit(parallel=True, cache=True)
def networks(net, thetas, X, y, losses, grads):
    for i in numba.prange(len(thetas)):
        losses[i], _ = net.loss_and_grad(thetas[i], X, y, out=grads[i])


@numba.njit(parallel=True, cache=True)
def neurons(ws, X, y, losses, grads):
    for i in numba.prange(len(ws)):
        losses[i], gw, _ = fg.neuron_loss_and_grad(ws[i], 0.5, X, y)
        grads[i] = gw


@numba.njit(parallel=True, cache=True)
def layers(Ws, b, X, outs, grads):
    for i in numba.prange(len(Ws)):
        outs[i], mask = fg.affine_relu(X, Ws[i], b)
        _, gW, _ = fg.affine_relu_backward(outs[i], X, Ws[i], mask)
        grads[i] = gW


@numba.njit(parallel=True, nogil=True, cache=True)
def count_up(x, times):
    for _ in range(times):
        for i in numba.prange(len(x)):
            x[i] += 1


def python_loss():
    loss, _ = next(work())(threads=1)
    return loss


@numba.njit(parallel=True)
def python_calls(losses):
    for i in numba.prange(len(losses)):
        with numba.objmode(loss="float64"):
            loss = python_loss()
        losses[i] = loss


def check_networks(rng):
    net = fg.MLP([40, 33, 5])
    thetas = np.stack([net.init(seed) for seed in range(24)])
    X, y = rng.normal(size=(2000, 40)), rng.normal(size=(2000, 5))  # parallel if called by Python
    losses, grads = np.empty(24), np.empty_like(thetas)
    networks(network(net, 2000), thetas, X, y, losses, grads)
    for theta, loss, grad in zip(thetas, losses, grads):
        expected, expected_grad = net.loss_and_grad(theta, X, y)
        assert loss == expected and (grad == expected_grad).all()


def check_neurons(rng):
    ws, X, y = rng.normal(size=(24, 40)), rng.normal(size=(2000, 40)), rng.normal(size=2000)
    losses, grads = np.empty(24), np.empty_like(ws)
    neurons(ws, X, y, losses, grads)
    for w, loss, grad in zip(ws, losses, grads):
        expected, expected_grad, _ = fg.neuron_loss_and_grad(w, 0.5, X, y)
        assert loss == expected and (grad == expected_grad).all()


def check_layers(rng):
    Ws, b, X = rng.normal(size=(24, 40, 33)), rng.normal(size=33), rng.normal(size=(2000, 40))
    outs, grads = np.empty((24, 2000, 33)), np.empty_like(Ws)
    layers(Ws, b, X, outs, grads)
    for W, out, grad in zip(Ws, outs, grads):
        expected, mask = fg.affine_relu(X, W, b)
        assert (out == expected).all()
        assert (grad == fg.affine_relu_backward(expected, X, W, mask)[1]).all()


def check_beside_python(expected, **threads):
    """Python calls in this thread while another is inside its own parallel loop."""
    x = np.zeros(100)
    count_up(x, 1)
    other = threading.Thread(target=count_up, args=(x, 20_000))
    other.start()
    try:
        while other.is_alive():
            assert all_bits(**threads) == expected
    finally:
        other.join()
    assert (x == 20_001).all()


def check_python_calls():
    losses = np.empty(8)
    python_calls(losses)
    assert (losses == python_loss()).all()
