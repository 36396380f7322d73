"""Uses of the guests' modules, for where PyTorch and JAX are there. Wrong lines have a mark, as in
`wrong.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize
from scipy.sparse import csr_array
from torch import nn

import fastgrad as fg
from fastgrad.interop import jax as fgj
from fastgrad.interop import numba as fgn
from fastgrad.interop.scipy import LeastSquares, objective
from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor, ReLURegressor
from fastgrad.interop.torch import DenseReLU, FusedMLP, FusedSequential, from_torch

if TYPE_CHECKING:
    from typing_extensions import assert_type

F8 = NDArray[np.float64]


def of_scipy(net: fg.MLP[np.float64], X: F8, y: F8) -> None:
    theta = net.init()
    best = minimize(net.loss_and_grad, theta, args=(X, y), jac=True, method="L-BFGS-B")
    net.predict(best.x, X)
    function = objective(net, X, y, kind="ggn")
    assert_type(function(theta), tuple[float, F8])
    assert_type(function.hessp(theta, theta), F8)
    problem = LeastSquares(net, X, y)
    assert_type(problem.jacobian(theta), F8)
    least_squares(problem.residuals, theta)
    fg.curvature.operator(net, theta, X, y, kind="ggn")
    fg.assert_jacobian((lambda t: t, lambda t: np.eye(2)), [1.0, 2.0], layout="denominator")
    rows = csr_array(X)
    net.loss_and_grad(theta, rows, y)
    fg.fit(net, rows, y)


def of_sklearn(X: F8, y: F8) -> None:
    model = FastMLPClassifier((32,), early_stopping=True, random_state=0, class_weight="balanced")
    assert_type(model.fit(X, y), FastMLPClassifier)
    print(model.score(X, y), model.predict_proba(X).max(), model.coefs_[0].shape, model.classes_)
    FastMLPRegressor(loss="quantile", quantile=0.9, n_networks=3, solver="lbfgs").fit(X, y, y)
    print(ReLURegressor(alpha=0.1).fit(X, y).predict(X).sum(), ReLURegressor().tol)


def of_torch(x: torch.Tensor) -> None:
    module = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    assert_type(from_torch(module), FusedSequential)
    assert_type(from_torch(module, flat=True), FusedMLP)
    model = FusedMLP([8, 16, 3], loss="cross_entropy", dtype=torch.float64)
    assert_type(model(x, x), torch.Tensor)
    assert_type(model.step_loss(x, x), torch.Tensor)
    torch.optim.Adam(model.parameters()).step()
    print(model.theta.shape, model.net.n_parameters, DenseReLU(3, 4)(x).shape, model.layers()[0])


def of_jax(net: fg.MLP[np.float32], X: jax.Array, y: jax.Array) -> None:
    def function(theta: jax.Array) -> jax.Array:
        return fgj.loss(net, theta, X, y)

    assert_type(fgj.predict(net, net.init(), X), jax.Array)
    print(jax.grad(function)(y))


def of_numba(net: fg.MLP[np.float64], X: F8, y: F8) -> None:
    step, opt = fgn.network(net, n=64, derivatives=True), fgn.optimizer(fg.SGD(0.05), net)
    theta = net.init()
    loss, grad = step.loss_and_grad(theta, X, y)
    opt.step(theta, grad)
    assert_type(loss, float)
    print(step.predict(theta, X), step.hvp(theta, X, y, theta), opt.hyper[0])


def wrong(net: fg.MLP[np.float32], x: torch.Tensor) -> None:
    FusedMLP([3, 1], "mes")  # E: arg-type, ArgumentType
    FusedMLP([3, 1], dtype="float32")  # E: arg-type, ArgumentType
    FusedMLP([3, 1]).step_loss(x)  # E: call-arg, CallIssue
    from_torch([nn.Linear(3, 1)])  # E: call-overload, ArgumentType
    fgj.predict(net.init(), net, net.init())  # E: arg-type, ArgumentType
    y: float = FusedMLP([3, 1])(x)  # E: assignment, AssignmentType
    print(y)
