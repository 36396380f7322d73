"""Many networks at once: a stack's gradients, a loop of calls, and a cross-validation.

1,000 networks of 4-32-32-2 with 32 rows each are what a sweep or a population is made of;
64-128-10 on the digits, ten folds, is scikit-learn's `cross_val_score`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

import fastgrad as fg

from .prepared import Timed

CASES = {
    "1,000 of 4-32-32-2, 32 rows": (1000, (4, 32, 32, 2), 32),
    "1,000 of 2-4-1, 8 rows": (1000, (2, 4, 1), 8),
    "3 of 64-512-512-10, 1,024 rows": (3, (64, 512, 512, 10), 1024),
}


@lru_cache(maxsize=1)
def stack_of(name):
    """(network, thetas, X, y, gradients), called once."""
    m, sizes, n = CASES[name]
    rng = np.random.default_rng(0)
    net = fg.MLP(sizes, dtype="float32")
    thetas, X = fg.stack.init(net, range(m)), rng.standard_normal((n, sizes[0]), dtype="f4")
    y, out = rng.standard_normal((n, sizes[-1]), dtype="f4"), np.empty_like(thetas)
    fg.stack.loss_and_grad(net, thetas, X, y, out=out)
    fg.stack.predict(net, thetas, X)
    net.loss_and_grad(thetas[0], X, y)
    return net, thetas, X, y, out


class Stack(Timed):
    params = tuple(CASES)
    param_names = ("work",)

    def setup(self, name):
        self.of = stack_of(name)
        self.prepare(1)

    def time_loss_and_grad(self, name):
        net, thetas, X, y, out = self.of
        fg.stack.loss_and_grad(net, thetas, X, y, out=out)

    def time_predict(self, name):
        net, thetas, X, _, _ = self.of
        fg.stack.predict(net, thetas, X)

    def time_loop_of_calls(self, name):
        net, thetas, X, y, out = self.of
        for theta, grad in zip(thetas, out):
            net.loss_and_grad(theta, X, y, out=grad)


@lru_cache(maxsize=1)
def digits():
    """Trained once, so that nothing compiles in the clock."""
    data = fg.datasets.load_digits()
    work = fg.MLP([64, 128, 10], "cross_entropy", dtype="float32"), (data.X / 16).astype("f4")
    fg.fit_many(*work, data.y, seeds=[0], folds=2, epochs=1)
    return *work, data.y


class CrossValidation(Timed):
    repeat = (3, 10, 10.0)

    def setup(self):
        self.of = digits()
        self.prepare(1)

    def time_ten_folds(self):
        fg.fit_many(*self.of, seeds=[0], folds=10, epochs=10)
