"""Wrong uses of the library: both checkers must report each line with a mark, and no other.

A mark names the code of mypy and the rule of pyright. Nothing is run: `check.py` has it checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastgrad as fg
from fastgrad import datasets, optimizers
from fastgrad.interop import numba as fgn
from fastgrad.interop.scipy import objective
from fastgrad.interop.sklearn import FastMLPClassifier, FastMLPRegressor
from fastgrad.typing import SparseRows

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


def names(net: fg.MLP[np.float64]) -> None:
    print(fg.split)  # E: attr-defined, AttributeAccessIssue
    print(fg.Optimiser)  # E: attr-defined, AttributeAccessIssue
    print(fg.import_module)  # E: attr-defined, AttributeAccessIssue
    print(fg.losses.mse)  # E: attr-defined, AttributeAccessIssue
    print(datasets.check)  # E: attr-defined, AttributeAccessIssue
    print(optimizers.Adamax)  # E: attr-defined, AttributeAccessIssue
    print(fg.stack.fit)  # E: attr-defined, AttributeAccessIssue
    print(net.parameters)  # E: attr-defined, AttributeAccessIssue
    print(fg.fit(net, [[1.0]], [1.0]).losses)  # E: attr-defined, AttributeAccessIssue


def networks(X: F8) -> None:
    fg.MLP([3, 1], loss="mes")  # E: call-overload, ArgumentType
    fg.MLP([3, 1], activation="Relu")  # E: call-overload, ArgumentType
    fg.MLP([3, 1], output_activation="tanh")  # E: call-overload, ArgumentType
    fg.MLP(3, 1)  # E: call-overload, ArgumentType
    fg.MLP([3, "1"])  # E: list-item, ArgumentType
    fg.MLP([3, 1], dtype=np.int64)  # E: arg-type, ArgumentType, CallIssue
    fg.MLP([3, 1], l2="0.1")  # E: call-overload, ArgumentType
    net = fg.MLP([3, 1])
    net.l2 = 0.1  # E: misc, AttributeAccessIssue
    net.init("he")  # E: arg-type, ArgumentType
    net.init(method="xavier")  # E: arg-type, ArgumentType
    net.loss_and_grad(X)  # E: call-arg, CallIssue
    net.predict(net.init(), "X.csv")  # E: arg-type, ArgumentType
    net.predict(net.init(), X, threads="two")  # E: arg-type, ArgumentType
    net.unflatten([1.0, 2.0])  # E: arg-type, ArgumentType


def sparse(net: fg.MLP[np.float64], S: SparseRows, y: F8) -> None:
    theta = net.init()
    fg.curvature.hessian(net, theta, S, y)  # E: arg-type, ArgumentType
    fg.curvature.ggn_diagonal(net, theta, S, y)  # E: arg-type, ArgumentType
    fg.jacobians.jacobian(net, theta, S)  # E: arg-type, ArgumentType
    fg.per_sample.grads(net, theta, S, y)  # E: arg-type, ArgumentType
    fg.per_sample.ntk(net, theta, S)  # E: arg-type, ArgumentType
    net.grad_input(theta, S, y)  # E: arg-type, ArgumentType


def dtypes(net: fg.MLP[np.float64], X: F8, X4: F4, y: F8) -> None:
    fg.affine(X, X4, 0.5)  # E: type-var, ArgumentType
    fg.neuron_loss_and_grad(np.ones(3), 0.0, X4, y)  # E: type-var, ArgumentType
    fg.relu(X, out=X4)  # E: type-var, ArgumentType
    net.loss_and_grad(X4, X, y)  # E: arg-type, ArgumentType
    net.loss_and_grad(net.init(), X, y, out=X4)  # E: arg-type, ArgumentType
    fg.jacobians.vjp(net, X4, X, y)  # E: misc, ArgumentType
    fg.curvature.hvp(net, net.init(), X, y, X4)  # E: misc, ArgumentType
    fg.SGD().step([1.0, 2.0], X4)  # E: arg-type, ArgumentType
    objective(net, "X.csv", y)  # E: arg-type, ArgumentType
    small: fg.MLP[np.float32] = net  # E: assignment, AssignmentType
    grad: F4 = net.loss_and_grad(net.init(), X, y)[1]  # E: assignment, AssignmentType
    print(small, grad)


def results(net: fg.MLP[np.float64], X: F8, y: F8) -> None:
    grad: F8 = net.loss_and_grad(net.init(), X, y)  # E: assignment, AssignmentType
    back = fg.affine_relu_backward(y, X, X, X > 0, need_gX=False)
    gX: F8 = back[0]  # E: assignment, AssignmentType
    gtheta, both = fg.jacobians.vjp(net, net.init(), X, y, need_gX=True)
    one: F8 = fg.jacobians.vjp(net, net.init(), X, y, need_gX=True)  # E: assignment, AssignmentType
    a: F8 = fg.affine_relu(X, X, y)  # E: assignment, AssignmentType
    score: str = fg.evaluate(net, net.init(), X, y).score  # E: assignment, AssignmentType
    theta: F4 = fg.fit(net, X, y).theta  # E: assignment, AssignmentType
    text: int = fg.fit(net, X, y).history.to_csv()  # E: assignment, AssignmentType
    print(grad, gX, gtheta, both, one, a, score, theta, text)


def training(net: fg.MLP[np.float64], X: F8, y: F8) -> None:
    fg.fit(X, y)  # E: arg-type, ArgumentType
    fg.fit(net, X, y, optimizer="adamax")  # E: arg-type, ArgumentType
    fg.fit(net, X, y, optimizer=fg.Adam)  # E: arg-type, ArgumentType
    fg.fit(net, X, y, epoch=20)  # E: call-arg, CallIssue
    fg.fit(net, X, y, epochs="20")  # E: arg-type, ArgumentType
    fg.fit(net, X, y, validation=X)  # E: arg-type, ArgumentType
    fg.fit(net, X, y, callbacks=3)  # E: arg-type, ArgumentType
    fg.fit(net, X, y, seed="0")  # E: arg-type, ArgumentType
    fg.fit(net, "X.csv", y)  # E: arg-type, ArgumentType

    def batches() -> list[F8]:
        return [X]

    def stop(epoch: int) -> bool:
        return epoch > 3

    fg.fit(net, batches)  # E: arg-type, ArgumentType
    fg.fit(net, X, y, callbacks=stop)  # E: arg-type, ArgumentType
    fg.fit_many(net, X, y, seeds=10)  # E: arg-type, ArgumentType
    fg.fit_many(net, X, y, optimizers=[fg.Adam(), "adamw"])  # E: call-arg, CallIssue
    fg.Adam(lr="fast")  # E: arg-type, ArgumentType
    fg.Adam(1e-3, momentum=0.9)  # E: call-arg, CallIssue
    fg.Momentum(0.1, 0.9)  # E: call-arg, CallIssue
    fg.SGD(0.1).lr = "slow"  # E: assignment, AttributeAccessIssue
    fg.schedules.Cosine(1e-3)  # E: call-arg, CallIssue


def others(net: fg.MLP[np.float64], X: F8, y: F8, unknown: Any) -> None:
    fg.save_model("m.npz", net)  # E: call-arg, CallIssue
    fg.save_model(net, net.init(), "m.npz")  # E: arg-type, ArgumentType
    fg.load_model("m.npz").classes.append(3)  # E: union-attr, OptionalMemberAccess
    fg.load_model(3)  # E: arg-type, ArgumentType
    fg.datasets.split(fg.datasets.load_digits(), fraction=0.2)  # E: call-overload, CallIssue
    fg.datasets.load("iris")  # E: call-overload, ArgumentType
    fg.check_gradient(net.loss_and_grad, net.init(), X)  # E: arg-type, ArgumentType
    fg.assert_gradient(net.loss, net.init(), (X, y), tolerance=1e-3)  # E: call-arg, CallIssue
    fg.numerical_gradient(y, X)  # E: arg-type, ArgumentType
    fg.calculus.elementwise_jacobians("plus", y, y)  # E: arg-type, ArgumentType
    fg.calculus.vector_chain(X, layout="row")  # E: arg-type, ArgumentType
    fg.num_threads("2")  # E: arg-type, ArgumentType
    fg.explain.formula("19")  # E: arg-type, ArgumentType
    fg.curvature.operator(net, net.init(), X, y, kind="fisher")  # E: arg-type, ArgumentType
    FastMLPClassifier(n_netwrks=3)  # E: call-arg, CallIssue
    FastMLPClassifier(solver="newton")  # E: arg-type, ArgumentType
    FastMLPRegressor(loss="mse")  # E: arg-type, ArgumentType
    fgn.network(net)  # E: call-arg, CallIssue
    fgn.optimizer(net, fg.Adam())  # E: arg-type, ArgumentType
    fg.relu(unknown, inplace=True)  # E: call-arg, CallIssue
