"""scikit-learn's solvers: its numbers to our optimisers, and L-BFGS."""

from __future__ import annotations

import numpy as np

from ..._core import check
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
    dtype, total = X.dtype, estimator._counted(X, sample_weight)
    net = estimator._network(sizes, loss, np.float64, total)
    loss_and_grad = estimator._objective(net, X, y, sample_weight)
    scale = estimator._gradient_scale

    def function(theta):
        if estimator._interrupted():
            raise KeyboardInterrupt
        value, grad = loss_and_grad(theta)
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
    offset = estimator._offset(y, sample_weight)
    estimator.loss_ = float(result.fun) * scale / estimator._loss_scale + offset
    estimator._net = estimator._network(sizes, loss, dtype, total)
    estimator._theta = result.x.astype(dtype, copy=False)
