"""Levenberg-Marquardt and Newton-CG in `fit`: steps, systems, stopping rules, checkpoints."""

import pickle

import numpy as np
import pytest
from helpers import LOSSES, draw_targets

import fastgrad as fg
from fastgrad._training import full_batch, levenberg, newton
from fastgrad._training.sources import Arrays

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 3))
Y = np.stack([np.tanh(X[:, 0] - X[:, 1]), X[:, 2] ** 2], axis=1)
S = RNG.uniform(0, 3, 60) * (RNG.uniform(size=60) > 0.2)
BOTH = [fg.LevenbergMarquardt(), fg.NewtonCG()]


def named(opt):
    return type(opt).__name__


def network(dtype="float64", **options):
    return fg.MLP([3, 4, 2], loss="mse", activation="tanh", dtype=dtype, **options)


def problem(net, rows=60, s=None, y=Y):
    s = None if s is None else s[:rows]
    return full_batch.Problem(net, Arrays(net, X[:rows], y[:rows], s, rows, False), None)


@pytest.mark.parametrize("rows", [60, 3])  # the (p, p) system, and that of residuals
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_a_linear_network_is_solved_in_one_gauss_newton_step(rows, l2):
    net = fg.MLP([3, 2], loss="mse", l2=l2)
    opt = fg.LevenbergMarquardt(damping=0)
    s = S[:rows] + 0.1
    result = fg.fit(net, X[:rows], Y[:rows], optimizer=opt, epochs=1, seed=0, sample_weight=s)
    rows_1 = np.hstack([X[:rows], np.ones((rows, 1))])
    root = np.sqrt(s / (s.sum() * 2))[:, None]
    penalty = np.sqrt(l2 / 2) * np.eye(4)[:3]
    A = np.vstack([root * rows_1, penalty])
    want = np.linalg.lstsq(A, np.vstack([root * Y[:rows], np.zeros((3, 2))]), rcond=None)[0]
    W, b = net.unflatten(result.theta)[0]
    if rows == 60 or l2:
        np.testing.assert_allclose(np.vstack([W, b]), want, rtol=1e-6, atol=1e-6)
    else:  # fewer rows than unknowns: any exact fit
        np.testing.assert_allclose(X[:rows] @ W + b, Y[:rows], atol=1e-8)


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_both_systems_give_the_same_step(l2, weighted, damping):
    net = network(l2=l2)
    theta, given = net.init(1), problem(net, s=S if weighted else None)
    _, g = given.loss_and_grad(theta)
    normal, residuals = levenberg.Normal(given, theta, g), levenberg.Residuals(given, theta, g)
    assert normal.scale == pytest.approx(residuals.scale, rel=1e-12)
    d = normal.solve(damping)
    np.testing.assert_allclose(residuals.solve(damping), d, rtol=1e-7, atol=1e-9)
    G = fg.curvature.ggn(net, theta, X, Y, S if weighted else None)
    np.testing.assert_allclose(G @ d + damping * d, -g, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_cholesky_solve(n):
    A = RNG.normal(size=(n, n))
    A, b = A @ A.T + n * np.eye(n), RNG.normal(size=n)
    np.testing.assert_allclose(levenberg.cholesky_solve(A, b), np.linalg.solve(A, b), rtol=1e-10)
    assert levenberg.cholesky_solve(A - 9 * n * np.eye(n), b) is None


def test_truncated_cg():
    A = RNG.normal(size=(9, 9))
    A, g = A @ A.T, RNG.normal(size=9)
    d, Ad, inside = newton.truncated_cg(lambda v: A @ v, g, np.inf, 1e-12, 50)
    np.testing.assert_allclose(d, -np.linalg.solve(A, g), rtol=1e-6)
    np.testing.assert_allclose(Ad, A @ d, rtol=1e-8, atol=1e-8)
    assert inside
    for radius in (1e-6, 0.1, 0.5 * np.linalg.norm(d)):
        short, Ashort, inside = newton.truncated_cg(lambda v: A @ v, g, radius, 1e-12, 50)
        assert not inside and np.linalg.norm(short) == pytest.approx(radius)
        assert g @ short + 0.5 * short @ Ashort < 0
    flat, _, inside = newton.truncated_cg(np.zeros_like, g, 2.0, 1e-12, 50)
    np.testing.assert_allclose(flat, -2 * g / np.linalg.norm(g))
    assert not inside


@pytest.mark.parametrize("opt", BOTH, ids=named)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [60, 5])
def test_every_epoch_lowers_the_loss(opt, dtype, rows):
    net = network(dtype, l2=1e-3)
    data = X[:rows], Y[:rows]
    result = fg.fit(net, *data, optimizer=opt, epochs=25, seed=0, sample_weight=S[:rows] + 0.1)
    loss = result.history.loss
    assert (np.diff(loss) < 0).all() and loss[-1] < 0.2 * loss[0]
    assert result.theta.dtype == dtype and result.optimizer.steps == result.epochs
    weights = (S[:rows] + 0.1).astype(dtype)
    assert loss[-1] == pytest.approx(
        net.loss(result.theta, *(a.astype(dtype) for a in data), weights), rel=1e-6
    )
    assert result.history.columns == ("loss", "learning_rate", *opt.columns, "seconds")
    assert (result.history[opt.columns[0]] > 0).all()
    assert opt.steps == 0  # what is passed is copied


@pytest.mark.parametrize("opt", [fg.LevenbergMarquardt(tolerance=0), fg.NewtonCG(tolerance=0)],
                         ids=named)  # fmt: skip
def test_ends_where_scipys_least_squares_does(opt):
    optimize = pytest.importorskip("scipy.optimize")
    x, net = np.linspace(-1, 1, 30)[:, None], fg.MLP([1, 1, 1], loss="mse", activation="tanh")
    theta = np.array([1.5, 0.3, 2.0, 0.0])
    y = net.predict(theta, x)[:, 0] + 0.1 * RNG.normal(size=30)
    theta += 0.2
    found = optimize.least_squares(
        lambda t: net.predict(t, x)[:, 0] - y, theta, xtol=1e-15, ftol=1e-15, gtol=1e-15,
        jac=lambda t: fg.jacobians.jacobian(net, t, x)[:, 0], method="lm", max_nfev=5000,
    )  # fmt: skip
    result = fg.fit(net, x, y, optimizer=opt, theta=theta, epochs=2000)
    assert result.history.loss[-1] == pytest.approx(2 * found.cost / 30, rel=1e-9)
    np.testing.assert_allclose(result.theta, found.x, rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_newton_cg_takes_every_loss(loss):
    net = fg.MLP([3, 5, 3], loss=loss, activation="softplus")
    y = draw_targets(np.random.default_rng(0), loss, 60, 3, np.dtype("f8"))
    result = fg.fit(net, X, y, optimizer="newtoncg", epochs=20, seed=0)
    assert result.epochs >= 5 and (np.diff(result.history.loss) < 0).all()
    assert result.history.loss[-1] < net.loss(net.init(0), X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_newton_cg_takes_sparse_rows(dtype):
    sparse = pytest.importorskip("scipy.sparse")
    net, rows = network(dtype, l2=0.01), np.where(X > 0.3, X, 0)
    given = {"optimizer": "newtoncg", "epochs": 2, "seed": 0}
    dense = fg.fit(net, rows, Y, **given)
    found = fg.fit(net, sparse.csr_matrix(rows), Y, **given)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found.history.loss, dense.history.loss, rtol=1e3 * eps)
    with pytest.raises(TypeError, match="X is sparse; optimizer LevenbergMarquardt takes dense"):
        fg.fit(net, sparse.csr_matrix(rows), Y, optimizer="levenbergmarquardt", epochs=1)


def test_residuals_are_zero_or_converged():
    net = fg.MLP([3, 2], loss="mse")
    for opt in BOTH:
        exact = X @ np.ones((3, 2)) - 1
        result = fg.fit(net, X, exact, optimizer=opt, epochs=200, seed=0)
        assert result.history.loss[-1] < 1e-18
        near = fg.fit(net, X, Y, optimizer=opt, epochs=200, seed=0)
        assert near.stopped == "converged" and 1 < near.epochs < 100
        grad = net.loss_and_grad(near.theta, X, Y)[1]
        assert np.abs(grad).max() < 1e-4
        there = fg.fit(net, np.zeros((4, 3)), np.zeros((4, 2)), theta=np.zeros(8), optimizer=opt)
        assert (there.stopped, there.epochs) == ("converged", 0)


@pytest.mark.parametrize("opt", BOTH, ids=named)
@pytest.mark.parametrize("rows", [2000, 5])
def test_the_same_bits_on_any_number_of_threads(opt, rows):
    rng, net = np.random.default_rng(0), fg.MLP([3, 12, 2], loss="mse", activation="tanh")
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))
    got = [
        fg.fit(net, x, y, optimizer=opt, epochs=4, seed=0, threads=threads) for threads in (1, 2)
    ]
    assert got[0].theta.tobytes() == got[1].theta.tobytes()
    assert got[0].history.loss.tobytes() == got[1].history.loss.tobytes()


@pytest.mark.parametrize("opt", BOTH, ids=named)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [(3, 9), (1, 2, 6, 9)])
def test_resumed_as_if_never_interrupted(tmp_path, opt, dtype, parts):
    options = dict(optimizer=opt, seed=0, validation=(X[:20], Y[:20]), sample_weight=S)
    whole = fg.fit(network(dtype), X, Y, epochs=9, **options)
    for epochs in parts:
        result = fg.fit(network(dtype), X, Y, epochs=epochs, checkpoint=tmp_path / "run.npz",
                        resume=True, **options)  # fmt: skip
    assert result.theta.tobytes() == whole.theta.tobytes()
    assert result.best_theta.tobytes() == whole.best_theta.tobytes()
    for name in set(whole.history.columns) - {"seconds"}:
        np.testing.assert_array_equal(result.history[name], whole.history[name])
    saved = fg.load_checkpoint(tmp_path / "run.npz")
    twin = opt.copy()
    twin.load_state_dict(saved.optimizer)
    assert twin.state_dict() == result.optimizer.state_dict() and twin.steps == 9


def test_a_run_that_has_converged_is_saved_and_stays_so(tmp_path):
    path = tmp_path / "run.npz"
    options = dict(optimizer=fg.LevenbergMarquardt(), epochs=100, seed=0, checkpoint=path,
                   checkpoint_every=50)  # fmt: skip
    net = fg.MLP([3, 2], loss="mse")
    first = fg.fit(net, X, Y, **options)
    again = fg.fit(net, X, Y, resume=True, **options)
    assert first.stopped == again.stopped == "converged" and first.epochs == again.epochs > 0
    assert first.theta.tobytes() == again.theta.tobytes()
    with pytest.raises(ValueError, match="another run: its settings damping"):
        fg.fit(net, X, Y, resume=True, **{**options, "optimizer": fg.LevenbergMarquardt(1.0)})


@pytest.mark.parametrize("opt", BOTH, ids=named)
def test_goes_on_from_its_state(opt):
    net, options = network(), dict(seed=0)
    whole = fg.fit(net, X, Y, optimizer=opt, epochs=8, **options)
    part = fg.fit(net, X, Y, optimizer=opt, epochs=3, **options)
    copied = pickle.loads(pickle.dumps(part.optimizer))
    rest = fg.fit(net, X, Y, optimizer=copied, theta=part.theta, epochs=5)
    assert rest.theta.tobytes() == whole.theta.tobytes() and rest.optimizer.steps == 8
    copied.reset()
    assert copied.steps == 0 and copied.state_dict()["numbers"] == {}


@pytest.mark.parametrize("opt", BOTH, ids=named)
def test_callbacks_patience_and_names(opt):
    seen = []

    class Both:
        def on_step(self, result):
            seen.append(("step", result.optimizer.steps, result.epochs))
            return result.optimizer.steps == 3

        def on_epoch(self, result):
            seen.append(("epoch", result.optimizer.steps, result.epochs))

    name = type(opt).__name__.lower()
    result = fg.fit(network(), X, Y, optimizer=name, epochs=9, seed=0, callbacks=Both())
    assert (result.stopped, result.epochs) == ("callback", 3)
    assert seen[:2] == [("step", 1, 0), ("epoch", 1, 1)] and len(seen) == 6
    waited = fg.fit(network(), X, Y, optimizer=opt, epochs=9, seed=0, patience=2, min_delta=9.0)
    assert (waited.stopped, waited.epochs, waited.best_epoch) == ("patience", 3, 1)

    def interrupt(result):
        if result.epochs == 2:
            raise KeyboardInterrupt

    assert fg.fit(network(), X, Y, optimizer=opt, callbacks=interrupt).interrupted


@pytest.mark.parametrize("opt", BOTH, ids=named)
@pytest.mark.parametrize("rows", [60, 5])
def test_not_finite_is_said(opt, rows):
    bad = X[:rows].copy()
    bad[2, 1] = np.nan
    with pytest.warns(RuntimeWarning, match="not finite"):
        result = fg.fit(network(), bad, Y[:rows], optimizer=opt, epochs=5, seed=0)
    assert (result.stopped, result.epochs) == ("not finite", 0)
    with np.errstate(all="raise"):  # a user's own
        fg.fit(network("float32"), X[:rows], Y[:rows], optimizer=opt, epochs=3, seed=0)


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(net=fg.MLP([3, 2], loss="huber")), ValueError, "the network's loss is huber"),
        (dict(batch_size=16), ValueError, "batch_size is 16, and optimizer LevenbergMarquardt"),
        (dict(optimizer=fg.NewtonCG(), batch_size=60), ValueError, "optimizer NewtonCG takes all"),
        (dict(X=lambda: [], y=None), TypeError, "takes all rows at once; expected arrays"),
        (dict(X=lambda: []), TypeError, "X is a function of batches, beside y"),
        (dict(optimizer="newton"), ValueError, "levenbergmarquardt, newtoncg, lbfgs"),
        (dict(optimizer=fg.NewtonCG), TypeError, "expected an optimiser such as"),
    ],
)
def test_errors_name_the_argument(change, error, words):
    arguments = {"net": network(), "X": X, "y": Y, "optimizer": BOTH[0], **change}
    with pytest.raises(error, match=words):
        fg.fit(**arguments)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: fg.LevenbergMarquardt(-1), ValueError, "damping is -1"),
        (lambda: fg.LevenbergMarquardt(np.nan), ValueError, "damping is nan"),
        (lambda: fg.LevenbergMarquardt("x"), TypeError, "damping is 'x'"),
        (lambda: fg.LevenbergMarquardt(tolerance=np.inf), ValueError, "tolerance is inf"),
        (lambda: fg.NewtonCG(radius=0), ValueError, "radius is 0"),
        (lambda: fg.NewtonCG(products=0), ValueError, "products is 0"),
        (lambda: fg.NewtonCG(products=1.5), TypeError, "products is 1.5"),
        (lambda: setattr(fg.NewtonCG(), "lr", 1), AttributeError, "has no number 'lr'; it has"),
        (lambda: fg.second_order.SecondOrder(), TypeError, "not used by itself"),
        (lambda: fg.NewtonCG().load_state_dict(3), TypeError, "saved is a int"),
        (lambda: fg.NewtonCG().load_state_dict(BOTH[0].state_dict()), ValueError, "Levenberg"),
        (
            lambda: fg.NewtonCG().load_state_dict({"name": "NewtonCG", "steps": 2}),
            ValueError,
            "the state has the numbers None after 2 steps; expected forcing, norm, radius",
        ),
    ],
)
def test_bad_numbers(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_damaged_state_is_a_damaged_checkpoint(tmp_path):
    from fastgrad import checkpoint

    path = tmp_path / "run.npz"
    options = dict(optimizer="newtoncg", seed=0, checkpoint=path)
    fg.fit(network(), X, Y, epochs=2, **options)
    saved = checkpoint.load_checkpoint(path)
    saved.optimizer["numbers"].pop("norm")
    checkpoint.save_checkpoint(path, saved)
    with pytest.raises(ValueError, match=r"run\.npz .*the state has the numbers"):
        fg.fit(network(), X, Y, epochs=4, resume=True, **options)


@pytest.mark.parametrize("rows", [60, 5])
def test_a_step_that_fails_is_damped_until_one_lowers_the_loss(rows, monkeypatch):
    net, tried, loss = network(), [], full_batch.Problem.loss

    def first_fail(self, theta):
        tried.append(theta)
        return np.nan if len(tried) < 4 else loss(self, theta)

    monkeypatch.setattr(full_batch.Problem, "loss", first_fail)
    theta = net.init(0)
    result = fg.fit(net, X[:rows], Y[:rows], optimizer=BOTH[0], theta=theta, epochs=1)
    lengths = [np.linalg.norm(t - theta) for t in tried]
    assert len(tried) == 4 and (np.diff(lengths) < 0).all() and result.epochs == 1
    start = fg.LevenbergMarquardt().damping
    scale = result.history.damping[0] / start / (2 * 4 * 8)
    given = problem(net, rows)
    _, g = given.loss_and_grad(theta)
    assert scale == pytest.approx(levenberg.Normal(given, theta, g).scale)
