"""One layer: forward with mask, backward to dX, dW and db, apart and together."""

from functools import lru_cache

import fastgrad as fg

from .prepared import Timed, calls_of
from .workloads import Work, data, layers

SHAPES = {
    "64 x 8 -> 4": (64, 8, 4),
    "400,000 x 24 -> 6": (400_000, 24, 6),
    "6,000 x 300 -> 200": (6000, 300, 200),
}


@lru_cache(maxsize=1)
def prepared(shape):
    n, d, k = SHAPES[shape]
    work = Work(shape, "layer", n, (d, k))
    theta, X, grad_a = data(work)
    [(W, b)] = layers(theta, work.sizes)
    _, mask = fg.affine_relu(X, W, b)
    fg.affine_relu_backward(grad_a, X, W, mask)
    return work, X, W, b, grad_a, mask


class Layer(Timed):
    params = tuple(SHAPES)
    param_names = ("rows x inputs -> outputs",)

    def setup(self, shape):
        self.work, *self.arrays = prepared(shape)
        self.prepare(calls_of(self.work))

    def time_forward(self, shape):
        X, W, b, *_ = self.arrays
        for _ in self.loop:
            fg.affine_relu(X, W, b)

    def time_backward(self, shape):
        X, W, _, grad_a, mask = self.arrays
        for _ in self.loop:
            fg.affine_relu_backward(grad_a, X, W, mask)

    def time_forward_and_backward(self, shape):
        X, W, b, grad_a, _ = self.arrays
        for _ in self.loop:
            _, mask = fg.affine_relu(X, W, b)
            fg.affine_relu_backward(grad_a, X, W, mask)
