"""A call of each kind on ordinary and on extreme numbers, each with its outcome: what no setting of
the interpreter, of NumPy or of the processor may change.

``python tests/sampled.py`` prints the outcomes.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastgrad as fg

SIZES = (1.0, "f8"), (1.0, "f4"), (1e-300, "f8"), (1e-30, "f4"), (1e150, "f8")


def digest(result) -> str:
    """Of the bits of all numbers in a result."""
    found = hashlib.sha256()

    def add(part):
        if isinstance(part, (tuple, list)):
            for inner in part:
                add(inner)
        elif part is not None and not isinstance(part, str):
            found.update(np.asarray(part).tobytes())

    add(result)
    return found.hexdigest()[:16]


def calls(size: float, dtype: str):
    """(name, call) of each kind, on numbers of about that size."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((40, 3)).astype(dtype) * np.asarray(size, dtype)
    y, labels = X[:, 0] + X[:, 1], rng.integers(0, 3, 40)
    W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 2), 2))
    a, mask = fg.affine_relu(X, W, b)
    net = fg.MLP([3, 8, 1], activation="softplus", dtype=dtype, l2=1e-3)
    classes = fg.MLP([3, 8, 3], loss="cross_entropy", dtype=dtype)
    rates = fg.MLP([3, 1], loss="poisson", dtype=dtype)
    theta, of_classes, of_rates = net.init(0), classes.init(0), rates.init(0)
    s = np.abs(X[:, 2]) + np.asarray(size, dtype)
    yield "layer", lambda: fg.affine_relu_backward(a, X, W, mask)
    yield "neuron", lambda: fg.neuron_loss_and_grad(W[:, 0].copy(), 0.5, X, y)
    yield "gradient", lambda: net.loss_and_grad(theta, X, y, s)
    yield "classes", lambda: classes.loss_and_grad(of_classes, X, labels)
    yield "probabilities", lambda: classes.predict_proba(of_classes, X)
    yield "stack", lambda: fg.stack.loss_and_grad(net, np.stack([theta, theta]), X, y)
    yield "ensemble", lambda: fg.stack.ensemble(classes, np.stack([of_classes] * 2), X)
    yield "hvp", lambda: fg.curvature.hvp(net, theta, X, y, theta)
    yield "norms", lambda: fg.per_sample.grad_norms(net, theta, X, y)
    yield "evaluate", lambda: tuple(fg.evaluate(net, theta, X, y, s))
    yield "accuracy", lambda: tuple(fg.evaluate(classes, of_classes, X, labels))
    yield "rates", lambda: tuple(fg.evaluate(rates, of_rates, X, np.abs(y)))
    yield "standardize", lambda: (*fg.datasets.standardize(X), *fg.datasets.standardize(y))
    options, seed = dict(epochs=2, progress=False), dict(seed=0)
    yield "fit", lambda: fg.fit(net, X, y, validation=(X, y), **seed, **options).theta
    order = fg.LevenbergMarquardt()
    yield "least squares", lambda: fg.fit(net, X, y, optimizer=order, **seed, **options).theta
    order = fg.NewtonCG()
    yield "newton", lambda: fg.fit(classes, X, labels, optimizer=order, **seed, **options).theta
    yield "many", lambda: fg.fit_many(net, X, y, seeds=[0, 1], folds=2, **options).thetas
    point = theta.astype("f8")
    wide = fg.MLP(**{**net.spec.settings(), "dtype": "f8"})
    given = X.astype("f8"), y.astype("f8")
    yield "check", lambda: fg.check_gradient(wide.loss_and_grad, point, given).max_relative_error
    yield "model", lambda: saved(net, theta, X)
    yield "explain", lambda: str(fg.explain.neuron(W[:, 0], 0.5, X[:4], y[:4])) and None


def saved(net, theta, X):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.npz")
        fg.save_model(path, net, theta, scale=2.0)
        return fg.load_model(path).predict(X, allow_nan=True)


def outcomes() -> dict[str, str]:
    """The digest of each result, or the error."""
    found = {}
    for size, dtype in SIZES:
        for name, call in calls(size, dtype):
            try:
                found[f"{name} {size:g} {dtype}"] = digest(call())
            except (TypeError, ValueError, RuntimeWarning) as error:
                found[f"{name} {size:g} {dtype}"] = f"{type(error).__name__}: {error}"[:100]
    return found


if __name__ == "__main__":
    json.dump(outcomes(), sys.stdout)
