"""fastgrad inside its guests, side by side with what they do by themselves.

    python -m benchmarks.compare_guests [name ...] [--threads 2] [--rounds 9]

Each comparison runs both sides in turns, in one process, with the same number of threads, on the
same data and from the same parameters; a figure is the median over rounds, the ratio the median of
the rounds' ratios. Guests that are not installed are left out, and said to be.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
import warnings
from itertools import pairwise

from .warm import SECONDS, warm_up

REST = 0.1  # seconds: idle threads of OpenBLAS spin some 20 ms, in the time of the other side


def _turns(sides: dict, rounds: int, seconds: float, warm: float = SECONDS) -> dict:
    """Seconds a call of each side, a number for each round; the order alternates."""
    repeats = {}
    for name, side in sides.items():
        warm_up(side, warm)
        start = time.perf_counter()
        side()
        repeats[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    taken = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            time.sleep(REST)
            start = time.perf_counter()
            for _ in range(repeats[name]):
                sides[name]()
            taken[name].append((time.perf_counter() - start) / repeats[name])
    return taken


def _report(title: str, sides: dict, rounds: int, seconds: float = 0.2, note: str = "") -> None:
    taken = _turns(sides, rounds, seconds)
    peer, *ours = sides
    print(f"{title}{'  (' + note + ')' if note else ''}")
    for name in sides:
        values = taken[name]
        ratio = statistics.median(p / v for p, v in zip(taken[peer], values))
        low, high = min(values), max(values)
        line = f"  {name:<34} {statistics.median(values) * 1e6:>12.1f} us"
        line += f"  ({low * 1e6:.1f} to {high * 1e6:.1f})"
        print(line + (f"  {ratio:.1f} x" if name in ours else ""), flush=True)


# PyTorch


def torch_steps(args) -> None:
    """A training step: zero_grad, loss, backward, PyTorch's Adam with the same options."""
    import torch

    torch.set_num_threads(args.threads)
    for sizes, n in (([8, 64, 64, 3], 16), ([64, 128, 10], 128)):
        torch.manual_seed(0)
        X, y = torch.randn(n, sizes[0]), torch.randint(0, sizes[-1], (n,))
        for options in ({}, {"fused": True}):
            _torch_case(args, sizes, X, y, options)


RATE = 1e-6  # of the learning: a batch learnt by heart has denormal gradients, slow on both sides


def _torch_case(args, sizes, X, y, options) -> None:
    import torch
    from torch import nn

    from fastgrad.interop.torch import from_torch

    modules = []
    for d, k in pairwise(sizes):
        modules += [nn.Linear(d, k), nn.ReLU()]
    peer = nn.Sequential(*modules[:-1])
    included, outside, without_graph = (
        from_torch(peer, "cross_entropy", flat=True) for _ in range(3)
    )

    def step(model, value):
        optimizer = torch.optim.Adam(model.parameters(), RATE, **options)

        def run():
            optimizer.zero_grad()
            value(X, y).backward()
            optimizer.step()

        return run

    def step_loss(model):
        optimizer = torch.optim.Adam(model.parameters(), RATE, **options)

        def run():
            model.step_loss(X, y)
            optimizer.step()

        return run

    def outside_loss(model):
        return lambda X, y: nn.functional.cross_entropy(model(X), y)

    _report(
        f"PyTorch training step, {'-'.join(map(str, sizes))}, {len(X)} rows, float32, "
        f"Adam({', '.join(f'{name}={value}' for name, value in options.items())})",
        {
            "nn.Sequential": step(peer, outside_loss(peer)),
            "FusedMLP.step_loss": step_loss(without_graph),
            "FusedMLP, loss included": step(included, included),
            "FusedMLP, loss of PyTorch": step(outside, outside_loss(outside)),
        },
        args.rounds,
    )


def torch_equal(args) -> None:
    """The largest difference of loss and gradients on the same parameters, in float64."""
    import torch
    from torch import nn

    from fastgrad.interop.torch import from_torch

    torch.manual_seed(0)
    peer = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).double()
    fused = from_torch(peer, "cross_entropy", flat=True)
    X, y = torch.randn(128, 64, dtype=torch.float64), torch.randint(0, 10, (128,))
    nn.functional.cross_entropy(peer(X), y).backward()
    fused(X, y).backward()
    grads = [p.grad.t() if p.ndim == 2 else p.grad for p in peer.parameters()]
    difference = (fused.theta.grad - torch.cat([g.reshape(-1) for g in grads])).abs().max()
    print(f"PyTorch autograd, 64-128-10, float64: largest difference {difference:.1e}")


# scikit-learn


def sklearn_digits(args) -> None:
    """`fit` on the digits with the same settings."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    import fastgrad as fg
    from fastgrad.interop.sklearn import FastMLPClassifier

    warnings.simplefilter("ignore")
    X_train, X_test, y_train, y_test = fg.datasets.split(fg.datasets.load_digits(), seed=0)
    X_train, X_test = X_train / 16, X_test / 16
    for dtype in ("float64", "float32"):
        X, Z = X_train.astype(dtype), X_test.astype(dtype)
        settings = dict(max_iter=200, random_state=0)
        peer, ours = MLPClassifier(**settings), FastMLPClassifier(**settings)
        with threadpool_limits(args.threads):
            _report(
                f"fit on the digits, 64-100-10, batches of 200, {dtype}, 200 epochs of Adam",
                {
                    "MLPClassifier": lambda X=X, m=peer: m.fit(X, y_train),
                    "FastMLPClassifier": lambda X=X, m=ours: m.fit(X, y_train),
                },
                args.rounds,
            )
        print(f"  accuracy {peer.score(Z, y_test):.3f} and {ours.score(Z, y_test):.3f}")


# A loop of reinforcement learning


STATES, ACTIONS, BATCH, MEMORY = 4, 2, 16, 512


def _environment(state, action, noise):
    """A pole on a cart, a step of 0.02 s: the next state, and whether it fell."""
    x, speed, angle, turn = state[0], state[1], state[2], state[3]
    force = 10.0 if action == 1 else -10.0
    push = (force + 0.05 * turn * turn * math.sin(angle)) / 1.1
    bend = 9.8 * math.sin(angle) - math.cos(angle) * push
    bend /= 0.5 * (4.0 / 3.0 - 0.1 * math.cos(angle) ** 2 / 1.1)
    pull = push - 0.05 * bend * math.cos(angle) / 1.1
    state[0], state[1] = x + 0.02 * speed, speed + 0.02 * pull
    state[2], state[3] = angle + 0.02 * turn, turn + 0.02 * bend
    if abs(state[0]) > 2.4 or abs(state[2]) > 0.2095:
        for j in range(STATES):
            state[j] = 0.05 * noise[j]
        return True
    return False


def _compiled_loop():
    import numba
    import numpy as np

    environment = numba.njit(_environment)

    @numba.njit
    def loop(one, many, opt, theta, steps, seed):
        np.random.seed(seed)  # noqa: NPY002
        real = theta.dtype.type
        grad, q = np.empty_like(theta), np.empty((1, ACTIONS), theta.dtype)
        targets = np.empty((BATCH, ACTIONS), theta.dtype)
        ahead = np.empty((BATCH, ACTIONS), theta.dtype)
        X, Xn = np.empty((BATCH, STATES), theta.dtype), np.empty((BATCH, STATES), theta.dtype)
        seen, after = np.zeros((MEMORY, STATES)), np.zeros((MEMORY, STATES))
        chosen, fell = np.zeros(MEMORY, np.int64), np.zeros(MEMORY, np.bool_)
        state, falls = np.zeros(STATES), 0
        row = np.empty((1, STATES), theta.dtype)
        for t in range(steps):
            for j in range(STATES):
                row[0, j] = real(state[j])
            one.predict(theta, row, out=q)
            action = 1 if q[0, 1] > q[0, 0] else 0
            if np.random.random() < 0.1:  # noqa: NPY002
                action = np.random.randint(ACTIONS)  # noqa: NPY002
            place = t % MEMORY
            seen[place] = state
            end = environment(state, action, np.random.uniform(-1, 1, STATES))  # noqa: NPY002
            after[place], chosen[place], fell[place] = state, action, end
            falls += end
            if t < BATCH:
                continue
            held = min(t + 1, MEMORY)
            rows = np.random.randint(0, held, BATCH)  # noqa: NPY002
            for i in range(BATCH):
                for j in range(STATES):
                    X[i, j], Xn[i, j] = real(seen[rows[i], j]), real(after[rows[i], j])
            many.predict(theta, Xn, out=ahead)
            many.predict(theta, X, out=targets)
            for i in range(BATCH):
                best = max(ahead[i, 0], ahead[i, 1])
                value = real(0.0) if fell[rows[i]] else real(1.0) + real(0.95) * best
                targets[i, chosen[rows[i]]] = value
            many.loss_and_grad(theta, X, targets, out=grad)
            opt.step(theta, grad)
        return falls

    return loop


def _torch_loop(model, optimizer, steps: int, seed: int) -> int:
    """The same algorithm as one writes it in PyTorch; the environment in NumPy."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    seen, after = torch.zeros(MEMORY, STATES), torch.zeros(MEMORY, STATES)
    chosen, fell = torch.zeros(MEMORY, dtype=torch.int64), torch.zeros(MEMORY)
    state, falls = np.zeros(STATES), 0
    for t in range(steps):
        with torch.no_grad():
            action = int(model(torch.from_numpy(state.astype(np.float32))).argmax())
        if rng.random() < 0.1:
            action = int(rng.integers(ACTIONS))
        place = t % MEMORY
        seen[place] = torch.from_numpy(state)
        end = _environment(state, action, rng.uniform(-1, 1, STATES))
        after[place], chosen[place], fell[place] = torch.from_numpy(state), action, float(end)
        falls += end
        if t < BATCH:
            continue
        rows = torch.from_numpy(rng.integers(0, min(t + 1, MEMORY), BATCH))
        with torch.no_grad():
            value = (1 - fell[rows]) * (1 + 0.95 * model(after[rows]).max(1).values)
        q = model(seen[rows]).gather(1, chosen[rows, None])[:, 0]
        optimizer.zero_grad()
        (((q - value) ** 2).sum() / (BATCH * ACTIONS)).backward()
        optimizer.step()
    return falls


def reinforcement(args) -> None:
    """Environment, replay, network and optimiser, 32 hidden units, step by step."""
    import torch

    import fastgrad as fg
    from fastgrad.interop.numba import network, optimizer
    from fastgrad.interop.torch import FusedMLP

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    steps = 500
    model = FusedMLP([STATES, 32, ACTIONS]).to_torch()
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    net = fg.MLP([STATES, 32, ACTIONS], dtype="float32")
    theta, loop = net.init(seed=0), _compiled_loop()
    one, many = network(net, 1), network(net, BATCH)
    opt = optimizer(fg.Adam(1e-3), net)
    _report(
        f"deep Q-learning of a cart and pole, 4-32-2, batches of 16, {steps} steps of each",
        {
            "PyTorch": lambda: _torch_loop(model, adam, steps, 0),
            "@njit": lambda: loop(one, many, opt, theta, steps, 0),
        },
        args.rounds,
    )


# Many networks at once


def sweep(args) -> None:
    """1,000 small networks: 20 full-batch Adam steps each, in the user's own parallel loop."""
    import numba
    import numpy as np

    import fastgrad as fg
    from fastgrad.interop.numba import network

    net = fg.MLP([8, 32, 1], dtype="float32")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 8)).astype(np.float32)
    y = np.abs(X[:, :1])
    handle, count = network(net, 64), 1000
    start = np.stack([net.init(seed) for seed in range(count)])

    def descend(handle, thetas, grads, X, y, losses):
        for i in numba.prange(len(thetas)):
            for _ in range(20):
                losses[i], _ = handle.loss_and_grad(thetas[i], X, y, out=grads[i])
                for j in range(thetas.shape[1]):
                    thetas[i, j] -= np.float32(0.01) * grads[i, j]

    serial, parallel = numba.njit(descend), numba.njit(parallel=True)(descend)
    grads, losses = np.empty_like(start), np.empty(count)

    def python():
        thetas = start.copy()
        for theta, grad in zip(thetas, grads):
            for _ in range(20):
                net.loss_and_grad(theta, X, y, out=grad, threads=1)
                theta -= np.float32(0.01) * grad
        return thetas

    def compiled(function):
        thetas = start.copy()
        function(handle, thetas, grads, X, y, losses)
        return thetas

    assert np.array_equal(python(), compiled(parallel))
    _report(
        "1,000 networks 8-32-1, 64 rows, 20 steps of gradient descent each, float32",
        {
            "a loop in Python": python,
            "@njit, one thread": lambda: compiled(serial),
            f"@njit(parallel=True), {args.threads} threads": lambda: compiled(parallel),
        },
        args.rounds,
    )


# JAX


def jax_steps(args) -> None:
    """Value and gradient under jit: what the way through NumPy costs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import fastgrad as fg
    from fastgrad.interop.jax import loss

    rng = np.random.default_rng(0)
    for sizes, n in (([8, 64, 64, 3], 16), ([64, 128, 10], 128), ([64, 512, 512, 10], 1024)):
        net = fg.MLP(sizes, "cross_entropy", dtype="float32")
        theta, X = jnp.array(net.init(seed=0)), jnp.array(rng.standard_normal((n, sizes[0])), "f4")
        y = jnp.array(rng.integers(0, sizes[-1], n))

        def own(theta, X, y, sizes=sizes):
            start, a = 0, X
            for d, k in pairwise(sizes):
                a = jax.nn.relu(a) if start else a
                W = theta[start : start + d * k].reshape(d, k)
                a = a @ W + theta[start + d * k : start + d * k + k]
                start += (d + 1) * k
            return -jnp.mean(jax.nn.log_softmax(a)[jnp.arange(len(y)), y])

        peer = jax.jit(jax.value_and_grad(own))
        ours = jax.jit(jax.value_and_grad(lambda t, X, y, net=net: loss(net, t, X, y)))
        _report(
            f"JAX value and gradient under jit, {'-'.join(map(str, sizes))}, {n} rows, float32",
            {
                "JAX": lambda f=peer, a=(theta, X, y): jax.block_until_ready(f(*a)),
                "fastgrad.interop.jax": lambda f=ours, a=(theta, X, y): jax.block_until_ready(
                    f(*a)
                ),
            },
            args.rounds,
        )


COMPARISONS = {
    "torch": (("torch",), (torch_steps, torch_equal)),
    "sklearn": (("sklearn", "threadpoolctl"), (sklearn_digits,)),
    "njit": (("torch",), (reinforcement,)),
    "sweep": ((), (sweep,)),
    "jax": (("jax",), (jax_steps,)),
}


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(COMPARISONS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(COMPARISONS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(COMPARISONS)}")
    for name in args.names or COMPARISONS:
        packages, functions = COMPARISONS[name]
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            print(f"{name}: left out, {', '.join(missing)} not installed")
            continue
        for function in functions:
            function(args)


def _limited() -> None:
    """Threads are fixed by the environment before any library is loaded: start again with them."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, default=2)
    threads = str(parser.parse_known_args()[0].threads)
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != threads for name in names):
        os.environ.update(dict.fromkeys(names, threads))
        command = [sys.executable, "-m", "benchmarks.compare_guests", *sys.argv[1:]]
        os.execv(sys.executable, command)


if __name__ == "__main__":
    _limited()
    main()
