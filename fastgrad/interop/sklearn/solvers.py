"""scikit-learn's solvers: its numbers to our optimisers, and L-BFGS."""

from __future__ import annotations

import numpy as np

from ..._core import check
from ...metrics import inputs
from ...optimizers import Adam, Momentum, Nesterov
from .common import lbfgs


class _Adam(Adam):
    """Adam as scikit-learn has it: `epsilon` joins sqrt(v) before its bias is taken out, Kingma and
    Ba's epsilon hat (arXiv 1412.6980, end of section 2)."""

    _epsilon_hat = True


def new_optimizer(estimator):
    """Of a network with the estimator's numbers; scikit-learn's loss is ours times a scale."""
    scale, rate, dtype = (
        estimator._gradient_scale,
        estimator.learning_rate_init,
        estimator._net.dtype,
    )
    if estimator.solver == "adam":
        eps = estimator.epsilon * scale
        check.held(eps, "epsilon", dtype, zero=False)
        check.held(rate, "learning_rate_init", dtype)
        return _Adam(rate, beta1=estimator.beta_1, beta2=estimator.beta_2, eps=eps)
    kind = Nesterov if estimator.nesterovs_momentum else Momentum
    check.held(rate / scale, "learning_rate_init", dtype)
    return kind(rate / scale, momentum=estimator.momentum)


def fit_lbfgs(estimator, X, y, sample_weight, sizes, loss, start):
    """In float64: a line search cannot live with float32's rounding of the loss."""
    dtype = X.dtype
    total = X.shape[0] if sample_weight is None else float(sample_weight.sum(dtype=np.float64))
    net = estimator._network(sizes, loss, np.float64, total)
    X = inputs(X.astype(np.float64, copy=False), "X", net)  # checked once where it is sparse
    y = y.astype(np.float64, copy=False) if y.dtype.kind == "f" else y
    weight = None if sample_weight is None else sample_weight.astype(np.float64)
    scale = estimator._gradient_scale

    def function(theta):
        if estimator._interrupted():
            raise KeyboardInterrupt
        value, grad = net.loss_and_grad(theta, X, y, weight, threads=estimator._threads)
        grad /= scale
        return value / scale, grad

    result = lbfgs(
        function,
        start.astype(np.float64),
        estimator,
        estimator.max_iter,
        estimator.max_fun,
        2e-9,
        estimator._note,
    )
    estimator.n_iter_ = min(int(result.nit), estimator.max_iter)
    estimator.loss_ = float(result.fun) * scale / estimator._loss_scale + estimator._offset(
        y, weight
    )
    estimator._net = estimator._network(sizes, loss, dtype, total)
    estimator._theta = result.x.astype(dtype, copy=False)
