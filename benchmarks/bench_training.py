"""An epoch of stochastic gradient descent on the digits: 64-128-10, 128 rows a step."""

from functools import lru_cache

import numpy as np

import fastgrad as fg

from .prepared import Timed


@lru_cache(maxsize=1)
def digits(dtype):
    X, y = fg.datasets.load_digits()[:2]
    X = np.ascontiguousarray(X, dtype)
    net = fg.MLP([X.shape[1], 128, 10], loss="cross_entropy", dtype=dtype)
    return net, net.init(seed=0), X, np.ascontiguousarray(y, np.int64)


class Training(Timed):
    params = ("float32", "float64")
    param_names = ("dtype",)

    def setup(self, dtype):
        self.net, self.theta, self.X, self.y = digits(dtype)
        self.prepare(1)
        self.time_epoch(dtype)

    def time_epoch(self, dtype):
        net, X, y, theta = self.net, self.X, self.y, self.theta.copy()
        grad, step = np.empty_like(theta), np.empty_like(theta)
        for start in range(0, len(X), 128):
            batch = slice(start, start + 128)
            net.loss_and_grad(theta, X[batch], y[batch], out=grad)
            theta -= np.multiply(grad, 0.001, out=step)
