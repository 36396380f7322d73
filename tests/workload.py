"""Calls whose work is worth several threads, one at least of every kernel that has a parallel twin,
for tests that make them from other threads and processes."""

import functools
import hashlib
import threading

import numpy as np

import fastgrad as fg
from fastgrad._core import fast_path, run, threads
from fastgrad._core.choice import CallChoice
from fastgrad.kernels import tuning
from fastgrad.kernels.fast_path import REFUSED


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
    w, y = W[:, 0].copy(), values[:, 0].copy()
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


def all_bits(_=None, **threads):
    """The bits of every call, in order; takes an argument so that pools can map it."""
    return [bits(call(**threads)) for call in work()]


launched = []  # "checked" or "fast" of every parallel kernel, by the path of its call


def count_launches():
    """From here on, `launched` has every step that ran in parallel; both paths stay as they are,
    but threads are used whether they pay or not."""
    CallChoice.parallel = lambda self: True
    tuning.FAST_PATH_AFTER = 0
    parallel, take = run.parallel_step, threads.take_threads
    launch, taken = fast_path.FastPath.launch, threading.local()

    def checked(*args):
        launched.append("checked")
        return parallel(*args)

    def noted_take():
        taken.threads = take()
        return taken.threads

    def fast(path, plan, args):
        result = launch(path, plan, args)
        refused = (result[0] if type(result) is tuple else result) == REFUSED
        if taken.threads > 1 and not refused:
            launched.append("fast")
        return result

    functools.update_wrapper(checked, parallel)  # what else is asked of a kernel
    run.parallel_step, threads.take_threads = checked, noted_take
    fast_path.FastPath.launch = fast
