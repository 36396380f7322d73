"""Right uses of the library, in which `mypy --strict` and `pyright` find nothing wrong.

Types that are worth knowing are asserted. Nothing here is run: `check.py` has it checked.
"""

# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastgrad as fg
from fastgrad.optimizers import Optimizer
from fastgrad.typing import ArrayOf, LossName

if TYPE_CHECKING:
    from typing_extensions import assert_type

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


def neurons_and_layers(X: F8, X4: F4, W: F8, y: F8) -> None:
    w, b = np.ones(3), 0.0
    for _ in range(3):
        loss, gw, gb = fg.neuron_loss_and_grad(w, b, X, y)
        w, b = w - 0.3 * gw, b - 0.3 * gb
        assert_type(loss, float)
    assert_type(fg.neuron_loss_and_grad(np.ones(3), 0, X, y, out=w)[1], F8)
    assert_type(fg.neuron_grad([1.0, 2.0, 3.0], np.float32(0.5), X4)[0], F4)
    assert_type(fg.affine(X, W, [0.5, 1.0]), F8)
    assert_type(fg.affine(X4, [1, 2, 3], 0.5), F4)
    assert_type(fg.affine([[1, 2]], [1.0, 2.0], 0.5, threads=1), F8)
    a, mask = fg.affine_relu(X4, W.astype(np.float32), np.zeros(2, np.float32))
    assert_type(a, F4)
    assert_type(mask, NDArray[np.bool_])
    gX, gW, _ = fg.affine_relu_backward(a, X4, np.ones((3, 2), np.float32), mask)
    assert_type(gX, F4)
    assert_type(gW, F4)
    nothing, _, _ = fg.affine_relu_backward(y, X, w, fg.relu_mask(y), need_gX=False)
    assert nothing is None
    assert_type(fg.relu(X4), F4)
    assert_type(fg.relu([-1, 2]), F8)
    assert_type(fg.relu_mask(0.5), NDArray[np.bool_])


def networks(X: F8, X4: F4, y: F8, labels: NDArray[np.int64]) -> None:
    net = fg.MLP([3, 32, 1], loss="mse")
    small = fg.MLP((3, 8, 4), "cross_entropy", activation="tanh", dtype="float32", l2=1e-4)
    assert_type(net, fg.MLP[np.float64])
    assert_type(small, fg.MLP[np.float32])
    assert_type(fg.MLP(range(1, 4), dtype=np.float32), fg.MLP[np.float32])
    assert_type(fg.MLP([3, 1], "huber", dtype=small.dtype, huber_delta=0.5), fg.MLP[np.float32])
    theta = net.init(seed=0)
    loss, grad = net.loss_and_grad(theta, X, y, threads=1)
    assert_type(loss, float)
    assert_type(grad, F8)
    net.loss_and_grad(theta, X, y, np.ones(len(y)), out=grad)
    (W1, b1), (_, _) = net.unflatten(grad)
    assert_type(net.flatten([(W1, b1)]), F8)
    assert_type(small.loss_and_grad(small.init(np.random.default_rng(0)), X4, labels)[1], F4)
    assert_type(small.predict(small.init(), X4 / 16), F4)
    assert_type(small.predict_proba(small.init(method="glorot"), [[1, 2, 3]]), F4)
    assert_type(small.classify(small.init(), X4), NDArray[np.int64])
    assert_type(net.grad_input(theta, X, y), F8)
    assert_type(net.layer_sizes, tuple[int, ...])
    assert_type(net.dtype, np.dtype[np.float64])
    print(net.n_parameters, net.l2, net.huber_delta, net == small, {net: 1})


def of_any_dtype(net: fg.MLP, name: str, X: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """A network of which nothing is known, and arrays of floats of which no more is."""
    theta = net.init()
    other = fg.MLP([2, 1], dtype=name)
    other.predict(other.init(), X)
    fg.curvature.hvp(net, theta, X, X[:, 0], theta)
    return net.predict(theta, X)


def derivatives(net: fg.MLP[np.float32], theta: F4, X: F4, y: F4) -> None:
    assert_type(fg.jacobians.vjp(net, theta, X, y), F4)
    assert_type(fg.jacobians.vjp(net, theta, X, y, need_gX=True), tuple[F4, F4])
    assert_type(fg.jacobians.jvp(net, theta, X, None, X), F4)
    assert_type(fg.jacobians.jacobian(net, theta, X, out=np.empty((1, 2, 3), np.float32)), F4)
    assert_type(fg.jacobians.input_jacobian(net, theta, X), F4)
    assert_type(fg.curvature.hvp(net, theta, X, y, theta), F4)
    assert_type(fg.curvature.ggn_vp(net, theta, X, y, theta), F4)
    assert_type(fg.curvature.hessian(net, theta, X, y), F4)
    assert_type(fg.curvature.ggn_diagonal(net, theta, X, y, threads=2), F4)
    assert_type(fg.curvature.kfac_factors(net, theta, X, y), list[tuple[F4, F4]])
    assert_type(fg.per_sample.grad_norms(net, theta, X, y), F4)
    assert_type(fg.per_sample.clipped_loss_and_grad(net, theta, X, y, 1.0), tuple[float, F4])
    assert_type(fg.per_sample.gram(net, theta, X, y, X, y), F4)
    assert_type(fg.per_sample.ntk(net, theta, X, trace=True), F4)
    thetas = fg.stack.init(net, seeds=range(5))
    losses, grads = fg.stack.loss_and_grad(net, thetas, X, y)
    assert_type(losses, F8)
    assert_type(grads, F4)
    assert_type(fg.stack.ensemble(net, thetas, X), F4)


def training(net: fg.MLP[np.float32], X: F8, y: F8, path: Path) -> fg.FitResult[np.float32]:
    def stop(result: fg.FitResult[np.float32]) -> bool:
        return result.epochs > 3

    class Hooks:
        def on_epoch(self, result: fg.FitResult[Any]) -> None:
            print(result.history.loss[-1])

        def on_step(self, result: fg.FitResult[Any]) -> bool:
            return bool(result.theta[0] > 1)

    def batches(epoch: int) -> Iterator[tuple[F8, F8]]:
        for _ in range(epoch):
            yield X, y

    result = fg.fit(net, X, y, optimizer=fg.Adam(1e-3), validation=(X, y), callbacks=stop)
    assert_type(result.theta, F4)
    assert_type(result.history, fg.History)
    assert_type(result.history.val_loss, F8)
    fg.fit(net, X, y, optimizer="lbfgs", callbacks=[Hooks(), stop, fg.GradientNorms(net, X, y)])
    fg.fit(net, X, y, optimizer=fg.NewtonCG(radius=2.0), callbacks=lambda result: print(result))
    fg.fit(net, batches, seed=np.random.SeedSequence(0), checkpoint=path, resume=True)
    fg.fit(
        net, [(X, y, None)], theta=result.best_theta.tolist(), optimizer=result.optimizer or "sgd"
    )
    fg.fit(net, X.tolist(), [1, 0, 1], progress=False, epochs=2, batch_size=16, patience=3)
    results = fg.fit_many(
        net, X, y, seeds=range(3), optimizers=[fg.Adam(1e-2), "sgd"], folds=5, l2=[0.0, 1e-4]
    )
    assert_type(results.thetas, F4)
    assert_type(results[0], fg.FitResult[np.float32])
    assert_type(results.last("val_loss"), F8)
    assert_type(fg.evaluate(net, results.thetas, X, y).score, float)
    print(fg.load_checkpoint(path).run, result.history.to_csv().splitlines())
    return result


def optimisers(theta: F4, grad: F4) -> None:
    def rate(step: int) -> float:
        return 1 / (step + 1)

    opt: Optimizer = fg.AdamW(rate, weight_decay=0.1, clip_norm=1.0)
    opt.step(theta, grad)
    opt.lr = fg.schedules.Warmup(fg.schedules.Cosine(1e-3, steps=10), steps=3)
    opt.lr = 0.1
    assert_type(opt.lr, Callable[[int], float])
    assert_type(fg.Momentum(0.1, momentum=0.5).copy(), fg.Momentum)
    opt.load_state_dict(opt.state_dict())


def models(net: fg.MLP, theta: F8, X: F8) -> None:
    fg.save_model("m.npz", net, theta, scale=16, classes=["no", "yes"], summary={"by": 1})
    model = fg.load_model("m.npz")
    print(model.predict(X[:5]), model.predict_proba([[1, 2]]).max(axis=1), model.mean.mean())
    assert_type(model.task == "regression", bool)


def data_and_checks(loss: LossName, X: ArrayOf[np.float64]) -> None:
    digits = fg.datasets.load_digits()
    X_train, _, y_train, _ = fg.datasets.split(digits, seed=0)
    assert_type(X_train, F8)
    Z, scaling = fg.datasets.standardize(X_train)
    print(Z * scaling.scale, y_train, fg.datasets.load("diamonds", "float32").X)
    net = fg.MLP([64, 1], loss)
    theta = net.init()
    check = fg.check_gradient(net.loss_and_grad, theta, (X, y_train), names={"W1": (64, 1)})
    assert check.ok or check.inconclusive, check.message

    def square(t: F8) -> float:
        return float(t @ t)

    fg.assert_gradient((square, square), [1.0, 2.0], floor=1e-3)
    assert_type(fg.numerical_gradient(square, [1.0, 2.0], stencil="central"), F8)
    assert_type(fg.calculus.identity_jacobian(3, dtype="float32"), F4)
    assert_type(fg.calculus.vector_chain(np.eye(2), [[1, 2]]), F8)
    print(fg.calculus.chain(2.0, np.ones(3), diagonals=True), fg.calculus.power_rule(2.0, 3))
    with fg.num_threads(1):
        print(fg.explain.formula(19, X=[[1.0]]).ok, fg.explain.neuron([1, 2], 0.5, [[1, 2]], [1]))
    fg.set_num_threads(None)
