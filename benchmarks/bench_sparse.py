"""Sparse rows of rcv1's shape and density: gradients and predictions of a logistic regression and
of 47,236-64-1; and how near the regression is to reading what is stored."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np

import fastgrad as fg

from .prepared import Timed
from .sparse_rows import rows_like_rcv1

MODELS = {"regression": [], "64 hidden": [64]}
DTYPES = ("float32", "float64")


@lru_cache(maxsize=1)
def work_of(model, dtype):
    """(network, theta, X, y, gradient), called once."""
    X = rows_like_rcv1(dtype=dtype)
    net = fg.MLP([X.shape[1], *MODELS[model], 1], "logistic", dtype=dtype)
    y = (np.random.default_rng(1).random(len(X.indptr) - 1) < 0.5).astype(dtype)
    theta = net.init(seed=0)
    out = np.empty_like(theta)
    net.loss_and_grad(theta, X, y, out=out)
    net.predict(theta, X)
    return net, theta, X, y, out


class Sparse(Timed):
    params = (tuple(MODELS), DTYPES)
    param_names = ("model", "dtype")

    def setup(self, model, dtype):
        if not find_spec("scipy"):
            raise NotImplementedError
        self.of = work_of(model, dtype)
        self.prepare(1)

    def time_loss_and_grad(self, model, dtype):
        net, theta, X, y, out = self.of
        net.loss_and_grad(theta, X, y, out=out)

    def time_predict(self, model, dtype):
        net, theta, X, _, _ = self.of
        net.predict(theta, X)
