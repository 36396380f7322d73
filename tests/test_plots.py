"""Pictures by their data: what is drawn is what NumPy says, on the Axes that were given."""

import builtins

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import plots

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

X1 = np.array([-2.0, -1.0, 0.5, 1.0, 3.0])
Y1 = np.array([0.0, 0.5, 1.0, 0.0, 2.0])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


def drawn(ax, label):
    """The points of the line of that label."""
    return np.column_stack(next(line for line in ax.lines if line.get_label() == label).get_data())


def loss(w, b):
    return np.mean((Y1 - np.maximum(0, w * X1 + b)) ** 2)


def descent(start, lr, steps):
    w, b = start
    path = [(w, b)]
    for _ in range(steps):
        e = np.where(w * X1 + b > 0, w * X1 + b - Y1, 0.0)
        w, b = w - lr * 2 * np.mean(e * X1), b - lr * 2 * np.mean(e)
        path.append((w, b))
    return np.array(path)


def test_row21_descent_path_is_gradient_descent():
    path = plots.descent_path(X1, Y1, (0.5, 1.0), lr=0.05, steps=7)
    np.testing.assert_allclose(path, descent((0.5, 1.0), 0.05, 7), rtol=1e-12)
    assert plots.descent_path(X1, Y1, (0.5, 1.0), steps=0).shape == (1, 2)


def test_row18_loss_surface_shows_the_loss_and_the_path(ax):
    result = plots.loss_surface(
        X1[:, None], Y1, start=(-0.5, 1.5), lr=0.05, steps=20, w=(-1, 2), b=(-2, 2),
        resolution=9, ax=ax,
    )  # fmt: skip
    assert result is ax
    C = ax.collections[0].get_array().reshape(9, 9)
    expected = [[loss(w, b) for w in np.linspace(-1, 2, 9)] for b in np.linspace(-2, 2, 9)]
    np.testing.assert_allclose(C, expected, rtol=1e-12)
    path = descent((-0.5, 1.5), 0.05, 20)
    np.testing.assert_allclose(drawn(ax, "gradient descent"), path, rtol=1e-12)
    np.testing.assert_allclose(drawn(ax, "start"), path[:1])
    np.testing.assert_allclose(drawn(ax, "end"), path[-1:], rtol=1e-12)
    assert ax.get_xlim() == (-1, 2) and ax.get_ylim() == (-2, 2)


def test_row19_row20_arrows_point_down_the_gradient(ax):
    plots.loss_surface(X1, Y1, w=(-1, 2), b=(-2, 2), resolution=5, ax=ax)
    quiver = next(c for c in ax.collections if hasattr(c, "U"))
    assert len(quiver.U)
    for (w, b), u, v in zip(quiver.get_offsets(), quiver.U, quiver.V):
        e = np.where(w * X1 + b > 0, w * X1 + b - Y1, 0.0)
        down = -np.array([np.mean(e * X1), np.mean(e)])
        np.testing.assert_allclose(down[0] * v - down[1] * u, 0, atol=1e-12)
        assert down @ [u, v] > 0
        np.testing.assert_allclose(np.hypot(u / 3, v / 4), 1, rtol=1e-12)


def test_loss_surface_lines_are_where_a_row_changes(ax):
    plots.loss_surface(X1, Y1, w=(-1, 2), b=(-2, 2), resolution=5, ax=ax)
    lines = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert len(lines) == len(X1)
    for x, line in zip(np.sort(X1), lines):
        w, b = line.get_data()
        np.testing.assert_allclose(w * x + b, 0, atol=1e-12)


def test_loss_surface_of_one_value_and_of_no_gradient():
    plots.loss_surface([1.0, 1.0], [0.0, 0.0], w=(-2, -1), b=(-2, -1), resolution=5)


def test_row16_active_rows_of_one_input(ax):
    assert plots.active_rows(1.0, 0.75, X1, Y1, after=(1.0, -0.75), ax=ax) is ax
    before, after = X1 + 0.75 > 0, X1 - 0.75 > 0
    points = np.column_stack([X1, Y1])
    np.testing.assert_array_equal(drawn(ax, "active"), points[before])
    np.testing.assert_array_equal(drawn(ax, "inactive"), points[~before])
    np.testing.assert_array_equal(drawn(ax, "changes"), points[before != after])
    for label, b in (("before", 0.75), ("after", -0.75)):
        curve = drawn(ax, label)
        np.testing.assert_allclose(curve[:, 1], np.maximum(0, curve[:, 0] + b), atol=1e-12)
        assert -b in curve[:, 0]
    assert ax.get_title() == "3 of 5 rows active, then 2"


def test_row16_active_rows_of_two_inputs(ax):
    X = np.array([[1.0, 1.0], [-1.0, 0.5], [0.2, -2.0], [2.0, -1.0]])
    plots.active_rows([1.0, 0.5], -0.5, X, ax=ax)
    mask = X @ [1.0, 0.5] - 0.5 > 0
    np.testing.assert_array_equal(drawn(ax, "active"), X[mask])
    np.testing.assert_array_equal(drawn(ax, "inactive"), X[~mask])
    boundary = np.vstack([p.vertices for c in ax.collections[:1] for p in c.get_paths()])
    np.testing.assert_allclose(boundary @ [1.0, 0.5], 0.5, atol=1e-9)


def test_active_rows_where_none_or_all_are_active():
    for b in (-100.0, 100.0):
        for X in (X1, np.ones((3, 2))):
            w = np.ones(1 if X.ndim == 1 else 2)
            title = plots.active_rows(w, b, X, after=(w, -b)).get_title()
            n = len(X)
            assert title == f"{n * (b > 0)} of {n} rows active, then {n * (b < 0)}"


def test_row16_mask_history_is_the_mask_of_each_step(ax):
    path = plots.descent_path(X1, Y1, (-0.5, 1.5), steps=30)
    assert plots.mask_history(path, X1, ax=ax) is ax
    masks = np.outer(X1, path[:, 0]) + path[:, 1] > 0
    np.testing.assert_array_equal(ax.images[0].get_array(), masks)
    changes = np.count_nonzero(masks[:, 1:] != masks[:, :-1])
    assert ax.get_title() == f"active (dark) rows; {changes} changes"


def test_row24_linear_regions_show_the_output_and_count_the_masks(ax):
    net = fg.MLP([2, 3, 2])
    W1 = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    layers = [(W1, np.array([0.0, 0.5, 0.0])), (np.ones((3, 2)), np.array([0.0, 1.0]))]
    theta = net.flatten(layers)
    options = {"x": (-1, 1), "y": (-2, 2), "resolution": 60, "output": 1}
    assert plots.linear_regions(net, theta, **options, ax=ax) is ax
    xs, ys = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-2, 2, 60))
    Z = np.stack([xs, ys + 0.5, xs - ys], axis=-1)
    mesh = ax.collections[0].get_array().reshape(60, 60)
    np.testing.assert_allclose(mesh, np.maximum(Z, 0).sum(axis=-1) + 1, rtol=1e-12)
    assert ax.get_title() == "7 linear regions"
    assert len(np.unique(Z.reshape(-1, 3) > 0, axis=0)) == 7
    boundaries = [np.vstack([p.vertices for p in c.get_paths()]) for c in ax.collections[1:4]]
    for points, of in zip(boundaries, (lambda x, y: x, lambda x, y: y + 0.5, lambda x, y: x - y)):
        np.testing.assert_allclose(of(*points.T), 0, atol=1e-9)


def test_row24_within_a_region_of_two_hidden_layers_the_network_is_affine():
    net = fg.MLP([2, 5, 4, 1], activation="leaky_relu", dtype="float32")
    theta = net.init(seed=3)
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (400, 2)).astype("f4")
    masks = plots.networks.hidden_outputs(net, theta, points) > 0
    assert masks.shape == (400, 9)
    pattern = max(map(tuple, masks), key=[tuple(m) for m in masks].count)
    inside = (masks == pattern).all(axis=1)
    A = np.column_stack([points[inside], np.ones(inside.sum())])
    out = net.predict(theta, points[inside])
    residual = A @ np.linalg.lstsq(A, out, rcond=None)[0] - out
    np.testing.assert_allclose(residual, 0, atol=1e-5)


def test_linear_regions_show_samples_and_their_classes(ax):
    net, X = fg.MLP([2, 3, 1]), np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
    plots.linear_regions(net, net.init(seed=0), X=X, labels=[1, 0, 1], resolution=9, ax=ax)
    np.testing.assert_array_equal(drawn(ax, "1"), X[[0, 2]])
    np.testing.assert_array_equal(drawn(ax, "0"), X[[1]])


def test_row04_gradient_check_shows_the_errors_of_both_stencils(ax):
    steps, t = np.array([1e-6, 1e-3, 1e-1]), 1.3
    assert plots.gradient_check((np.exp, np.exp), t, steps=steps, ax=ax) is ax
    scaled = steps * t
    central = (np.exp(t + scaled) - np.exp(t - scaled)) / (2 * scaled)
    near, far = (np.exp(t + k * scaled) - np.exp(t - k * scaled) for k in (1, 2))
    five = (8 * near - far) / (12 * scaled)
    for label, numerical in (("central", central), ("five point", five)):
        errors = abs(numerical - np.exp(t)) / np.maximum(numerical, np.exp(t))
        np.testing.assert_array_equal(drawn(ax, label)[:, 0], steps)
        np.testing.assert_allclose(drawn(ax, label)[1:, 1], errors[1:], rtol=1e-4, atol=1e-12)


def test_gradient_check_of_a_wrong_gradient_stays_high(ax):
    plots.gradient_check(lambda t: (t @ t, 3 * t), np.array([1.0, 2.0]), ax=ax)
    assert drawn(ax, "five point")[:, 1].min() > 0.3


def test_row24_gradient_norms_are_those_of_each_layer(ax):
    rng = np.random.default_rng(1)
    net, X, y = fg.MLP([3, 4, 1]), rng.normal(size=(20, 3)), rng.normal(size=20)
    norms, thetas = fg.GradientNorms(net, X, y), []
    fg.fit(net, X, y, epochs=4, seed=0, callbacks=[norms, lambda r: thetas.append(r.theta.copy())])
    expected = []
    for theta in thetas:
        grad = net.loss_and_grad(theta, X, y)[1]
        expected.append([np.linalg.norm(grad[:16]), np.linalg.norm(grad[16:])])
    for place, column in enumerate(np.transpose(expected), 1):
        np.testing.assert_allclose(norms.history[f"layer_{place}"], column, rtol=1e-12)
    assert plots.gradient_norms(norms, ax=ax) is ax
    points = drawn(ax, "layer 2")
    np.testing.assert_array_equal(points[:, 0], [1, 2, 3, 4])
    np.testing.assert_allclose(points[:, 1], np.transpose(expected)[1], rtol=1e-12)
    assert plots.gradient_norms(norms.history) is not ax


def test_gradient_norms_take_what_fit_takes():
    norms = fg.GradientNorms(fg.MLP([2, 1], dtype="float32"), [[1, 2], [3, 4]], [0, 1])
    assert norms.X.dtype == np.float32
    with pytest.raises(TypeError, match="net is a str"):
        fg.GradientNorms("net", [[1.0]], [1.0])


def test_without_axes_a_new_figure_is_made():
    first, second = (plots.mask_history([[1.0, 0.0]], X1) for _ in range(2))
    assert first.figure is not second.figure


def test_every_picture_can_be_saved(tmp_path):
    net = fg.MLP([2, 3, 1])
    pictures = [
        plots.loss_surface(X1, Y1, start=(0.0, 1.0)),
        plots.active_rows(1.0, 0.5, X1, Y1, after=(1.0, -0.5)),
        plots.active_rows([1.0, 0.5], 0.5, np.eye(2), after=([1.0, 0.5], -0.6)),
        plots.mask_history([[1.0, 0.0], [1.0, 1.5]], X1),
        plots.linear_regions(net, net.init(seed=0), resolution=20),
        plots.gradient_check((np.exp, np.exp), 1.0),
        plots.gradient_norms(fg.History({"layer_1": [1.0, 0.5]})),
    ]
    for place, ax in enumerate(pictures):
        ax.figure.savefig(tmp_path / f"{place}.png")
        assert (tmp_path / f"{place}.png").stat().st_size > 5000


NET = fg.MLP([2, 3, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plots.loss_surface(np.ones((3, 2)), Y1[:3]), ValueError, "X has 2 columns"),
        (lambda: plots.loss_surface(X1, Y1[:2]), ValueError, "y has 2 rows, X has 5"),
        (lambda: plots.loss_surface(X1, Y1, w=(1, 1)), ValueError, r"w is \(1, 1\); expected"),
        (lambda: plots.loss_surface(X1, Y1, b=(1, 2, 3)), ValueError, "b is"),
        (lambda: plots.loss_surface(X1, Y1, start=(1.0,)), ValueError, r"start has shape \(1,\)"),
        (lambda: plots.loss_surface(X1, Y1, resolution=1), ValueError, "resolution is 1"),
        (lambda: plots.loss_surface(X1, Y1, ax="ax"), TypeError, "ax is a str"),
        (lambda: plots.loss_surface([np.nan], [1.0]), ValueError, "X is empty or not finite"),
        (lambda: plots.loss_surface(["a"], [1.0]), TypeError, "X has dtype"),
        (lambda: plots.descent_path(X1, Y1, (1.0, 2.0), steps=-1), ValueError, "steps is -1"),
        (lambda: plots.active_rows([1.0] * 3, 0, np.ones((2, 3))), ValueError, "X has 3 columns"),
        (lambda: plots.active_rows([1.0] * 2, 0, X1), ValueError, r"w has shape \(2,\)"),
        (lambda: plots.active_rows(1.0, 0, X1, after=1.0), TypeError, "after is 1.0; expected a p"),
        (lambda: plots.active_rows(1.0, [0.0], X1), ValueError, r"b has shape \(1,\)"),
        (lambda: plots.mask_history([[1.0]], X1), ValueError, r"path has shape \(1, 1\)"),
        (lambda: plots.linear_regions("n", [1.0]), TypeError, "net is a str"),
        (lambda: plots.linear_regions(fg.MLP([3, 1]), [1.0]), ValueError, "net has 3 inputs"),
        (
            lambda: plots.linear_regions(fg.MLP([2, 3, 1], activation="tanh"), [1.0]),
            ValueError,
            "activation 'tanh'",
        ),
        (lambda: plots.linear_regions(NET, NET.init(0), output=1), ValueError, "output is 1; ex"),
        (lambda: plots.linear_regions(NET, [1.0]), ValueError, r"theta has shape \(1,\)"),
        (lambda: plots.linear_regions(NET, NET.init(0), X=X1), ValueError, r"X has shape \(5,\)"),
        (lambda: plots.linear_regions(NET, NET.init(0), labels=[1]), ValueError, "without X"),
        (
            lambda: plots.linear_regions(NET, NET.init(0), X=np.eye(2), labels=[1]),
            ValueError,
            "labels has 1 rows, X has 2",
        ),
        (lambda: plots.gradient_check(1.0, 1.0), TypeError, "fun is a float"),
        (
            lambda: plots.gradient_check((np.exp, np.exp), 1.0, steps=[0.0]),
            ValueError,
            "steps has 0; expected numbers above 0",
        ),
        (
            lambda: plots.gradient_check((np.exp, lambda t: [1.0, 2.0]), 1.0),
            ValueError,
            r"the gradient has shape \(2,\); expected \(\)",
        ),
        (lambda: plots.gradient_norms([1.0]), TypeError, "norms is a list"),
        (lambda: plots.gradient_norms(fg.History({"a": []})), ValueError, "norms has no epoch"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "fastgrad\[plot\]"'):
        plots.mask_history([[1.0, 0.0]], X1)
