"""The usual jobs: what `warmup` compiles, and a wheel carries compiled.

A wheel's kernels are made in two steps (`_build/backend.py`), so that a level is compiled on
machines that cannot run it, and for plans of any machine: `record` runs the jobs and writes down
which kernels were called with which types; `compile_recorded`, in a process that compiles for the
level, compiles those without running any, and every routine that a plan may ask for.
"""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import numpy as np

from . import (
    MLP,
    curvature,
    dense,
    evaluate,
    fit,
    fit_many,
    jacobians,
    neuron,
    optimizers,
    per_sample,
    stack,
)
from ._core.csr import Csr
from ._training.stepper import Stepper
from .kernels import engine, gram, jit, routines, training
from .kernels import stack as stacks
from .losses import DEFAULTS

DTYPES = "float32", "float64"
CALLS = 3  # the fast path opens after the first
_TWINS = (
    (engine.serial_step, engine.parallel_step),
    (training.train_steps, training.train_steps_parallel),
    (stacks.serial_stack, stacks.parallel_stack),
    (gram.serial_gram, gram.parallel_gram),
)


def _data(loss, dtype, k=2):
    X = np.ones((600, 4), dtype)
    return X, np.zeros(600, np.int64) if loss.labelled else np.zeros((600, k), dtype)


def train(loss, dtype) -> None:
    """Training of a network, its gradient and its predictions."""
    net, (X, y) = MLP([4, 300, 2], loss=loss.name, dtype=dtype), _data(loss, dtype)
    for kind in ("sgd", "momentum", "rmsprop", "adam"):
        fit(net, X, y, optimizer=optimizers.BY_NAME[kind](), epochs=1, batch_size=600,
            validation=(X, y), seed=0)  # fmt: skip
    theta = net.init(seed=0)
    for _ in range(CALLS):
        net.loss_and_grad(theta, X, y)  # enough rows for threads
    stepper = Stepper(net, theta, optimizers.BY_NAME["sgd"](), False, None)
    stepper.compile_parallel(X, y.reshape(-1), None, 600)
    if loss.takes_logits:
        net.predict_proba(theta, X[:1])


def neurons(dtype) -> None:
    X, y = np.ones((600, 4), dtype), np.ones(600, dtype)
    for rows in (600, 1) * CALLS:
        neuron.neuron_loss_and_grad(np.ones(4, dtype), dtype.type(0), X[:rows], y[:rows])


def use(loss, dtype) -> None:
    """A network as the estimators, the command line and SciPy use it."""
    net, (X, y) = MLP([4, 300, 2], loss=loss.name, dtype=dtype), _data(loss, dtype)
    theta, s = net.init(seed=0), np.ones(600, dtype)
    frozen, fixed = X.copy(), y.copy()
    for array in (frozen, fixed):
        array.flags.writeable = False
    for rows in (600, 1) * CALLS:
        for x, t in ((X, y), (frozen, y), (frozen, fixed)):
            for out in (None, np.empty_like(theta)):
                net.loss_and_grad(theta, x[:rows], t[:rows], out=out)
            net.loss(theta, x[:rows], t[:rows])
            net.predict(theta, x[:rows])
    net.loss_and_grad(theta, X, y, s)
    evaluate(net, theta, X, y)
    fit(net, X, y, sample_weight=s, epochs=1, seed=0)
    fit(net, frozen, y, epochs=1, seed=0)
    fit_many(net, X, y, seeds=range(2), epochs=1)
    thetas = np.stack([theta, theta])
    stack.loss_and_grad(net, thetas, X, y)
    stack.predict(net, thetas, X)
    sparse = Csr(X.ravel(), np.tile(np.arange(4), 600), np.arange(601) * 4, 4)
    net.loss_and_grad(theta, sparse, y)
    net.predict(theta, sparse)
    fit(net, sparse, y, epochs=1, seed=0)


def one_output(name, dtype) -> None:
    """A column of targets, or an array without columns."""
    net, X = MLP([4, 300, 1], loss=name, dtype=dtype), np.ones((600, 4), dtype)
    theta = net.init(seed=0)
    for y in (np.zeros((600, 1), dtype), np.zeros(600, dtype)):
        for rows in (600, 1) * CALLS:
            net.loss_and_grad(theta, X[:rows], y[:rows])
        _of_rows(net, theta, X, y)


def _of_rows(net, theta, X, y) -> None:
    for rows in (600, 1) * CALLS:
        per_sample.grad_norms(net, theta, X[:rows], y[:rows])
        per_sample.clipped_loss_and_grad(net, theta, X[:rows], y[:rows], max_norm=1.0)


def differentiate(loss, dtype) -> None:
    net, (X, y) = MLP([4, 300, 2], loss=loss.name, dtype=dtype), _data(loss, dtype)
    theta, cotangent = net.init(seed=0), np.ones((600, 2), dtype)
    net.grad_input(theta, X, y)
    for rows in (600, 1) * CALLS:
        jacobians.vjp(net, theta, X[:rows], cotangent[:rows])
    jacobians.vjp(net, theta, X, cotangent, need_gX=True)
    jacobians.jvp(net, theta, X, theta)
    curvature.hvp(net, theta, X, y, theta)
    curvature.ggn_vp(net, theta, X, y, theta)
    curvature.ggn_diagonal(net, theta, X, y)
    _of_rows(net, theta, X, y)
    small = MLP([4, 3, 2], loss=loss.name, dtype=dtype)
    theta = small.init(seed=0)
    per_sample.grads(small, theta, X, y)
    per_sample.gram(small, theta, X[:60], y[:60])
    curvature.ggn(small, theta, X, y)


def layers(dtype) -> None:
    X, W, w = np.ones((600, 4), dtype), np.ones((4, 3), dtype), np.ones(4, dtype)
    for weights, b in ((W, np.ones(3, dtype)), (w, dtype.type(1))):
        dense.affine(X, weights, b)
        a, mask = dense.affine_relu(X, weights, b)
        dense.affine_relu_backward(a, X, weights, mask)
    neuron.neuron_grad(w, dtype.type(1), X)
    for Z in (w, X):
        neuron.relu(Z)
        neuron.relu_mask(Z)


def warm(dtypes, done=lambda name, seconds: None) -> None:
    """What training and prediction need; `done` is told of each job."""
    for dtype in map(np.dtype, dtypes):
        for loss in DEFAULTS.values():
            _timed(done, f"network, {loss.name}, {dtype}", train, loss, dtype)
        _timed(done, f"neuron, {dtype}", neurons, dtype)


def _timed(done, name, job, *args) -> None:
    began = time.perf_counter()
    job(*args)
    done(name, time.perf_counter() - began)


def record(path: Path) -> None:
    """All jobs; the types that each kernel was called with go to a file."""
    warm(DTYPES)
    for dtype in map(np.dtype, DTYPES):
        layers(dtype)
        for name in ("mse", "logistic", "poisson"):
            one_output(name, dtype)
        for loss in DEFAULTS.values():
            use(loss, dtype)
            differentiate(loss, dtype)
    for serial, parallel in _TWINS:
        for signature in serial.signatures:
            parallel.compile(signature)
    called = {_name(kernel): kernel.signatures for kernel in _kernels().values()}
    path.write_bytes(pickle.dumps(called))


def _name(kernel) -> str:
    return f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}"


def _kernels() -> dict:
    """Those that Python calls, by name."""
    return {_name(kernel): kernel for kernel in jit.kernels}


def compile_recorded(path: Path) -> None:
    kernels = _kernels()
    for name, signatures in pickle.loads(path.read_bytes()).items():
        for signature in signatures:
            kernels[name].compile(signature)
    routines.resolve_all()


if __name__ == "__main__":
    {"record": record, "compile": compile_recorded}[sys.argv[1]](Path(sys.argv[2]))
