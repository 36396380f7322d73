"""An epoch on the digits, 64-128-10 with 128 rows a step: a plain loop, and `fit` with Adam."""

from functools import lru_cache

import numpy as np

import fastgrad as fg

from .prepared import Timed


@lru_cache(maxsize=1)
def digits(dtype):
    data = fg.datasets.load_digits(dtype)
    net = fg.MLP([data.X.shape[1], 128, 10], loss="cross_entropy", dtype=dtype)
    return net, net.init(seed=0), data.X, data.y


@lru_cache(maxsize=1)
def warm(dtype):
    """Compile what both benchmarks call."""
    net, theta, X, y = digits(dtype)
    net.loss_and_grad(theta, X[:128], y[:128])
    fg.fit(net, X, y, optimizer="adam", epochs=1, batch_size=128, seed=0)


class Training(Timed):
    params = ("float32", "float64")
    param_names = ("dtype",)

    def setup(self, dtype):
        self.net, self.theta, self.X, self.y = digits(dtype)
        self.prepare(1)
        warm(dtype)

    def time_epoch(self, dtype):
        net, X, y, theta = self.net, self.X, self.y, self.theta.copy()
        grad, step = np.empty_like(theta), np.empty_like(theta)
        for start in range(0, len(X), 128):
            batch = slice(start, start + 128)
            net.loss_and_grad(theta, X[batch], y[batch], out=grad)
            theta -= np.multiply(grad, 0.001, out=step)

    def time_fit(self, dtype):
        fg.fit(self.net, self.X, self.y, optimizer="adam", epochs=1, batch_size=128, seed=0)
