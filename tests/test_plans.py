"""Every way a step can be cut gives the same gradient: wide or not, few tasks or many, flushed."""

import numpy as np
import pytest
from helpers import CUTS, forget_plans, lanes, run_python, set_tuning

import fastgrad as fg
from fastgrad import reference
from fastgrad._core import plan as plans
from fastgrad.kernels import tuning
from fastgrad.kernels.micro_kernel import NV
from fastgrad.kernels.records import (
    GRADIENT,
    IN_PLACE,
    LAYER,
    LOSS,
    PACKED,
    PACKED_BOTH,
    PANEL_BY_PANEL,
    PLAN,
)

# Widths around the tiles, one and few outputs (skinny layers), inner sizes beyond a block of k.
SHAPES = [(5, 1), (40, 3), (24, 6), (17, 65, 3), (130, 31, 1, 7), (9, 300, 2), (3, 1100, 5)]


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    set_tuning(monkeypatch.setattr, **CUTS[request.param])
    forget_plans()
    yield request.param
    forget_plans()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_row24_every_cut_gives_the_same_gradient(cut, sizes, dtype):
    net = fg.MLP(sizes, "mse", dtype=dtype, l2=0.01)
    rng = np.random.default_rng(3)
    for n in (1, 7, 29, 250, 701):
        theta = (0.3 * rng.normal(size=net.n_parameters)).astype(dtype)
        X = rng.normal(size=(n, sizes[0])).astype(dtype)
        y = rng.normal(size=(n, sizes[-1])).astype(dtype)
        double = theta.astype(float), X.astype(float), y.astype(float), sizes, "mse"
        loss, grad = reference.mlp_loss_and_grad(*double, l2=0.01)
        grad_input = reference.mlp_grad_input(*double)
        tolerance = 3e-5 if dtype == np.float32 else 1e-12
        found, found_grad = net.loss_and_grad(theta, X, y)
        assert found == pytest.approx(loss, rel=tolerance)
        scale = np.abs(grad).max()
        np.testing.assert_allclose(found_grad, grad, rtol=0, atol=tolerance * scale)
        np.testing.assert_allclose(
            net.grad_input(theta, X, y), grad_input, rtol=0,
            atol=tolerance * max(np.abs(grad_input).max(), 1e-300),
        )  # fmt: skip
        assert net.loss(theta, X, y) == found
        serial, serial_grad = net.loss_and_grad(theta, X, y, threads=1)
        assert serial == found
        np.testing.assert_array_equal(serial_grad, found_grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_anywhere_shows_in_every_cut(cut, dtype):
    rng = np.random.default_rng(4)
    for sizes in SHAPES[:5]:
        net = fg.MLP(sizes, "mse", dtype=dtype)
        for n in (7, 250):
            arrays = [
                rng.uniform(0.1, 1, shape).astype(dtype)  # every unit active
                for shape in (net.n_parameters, (n, sizes[0]), (n, sizes[-1]))
            ]
            for place in range(12):
                spoilt = [array.copy() for array in arrays]
                spoilt[place % 3].flat[rng.integers(arrays[place % 3].size)] = np.nan
                loss, grad = net.loss_and_grad(*spoilt)
                assert np.isnan(loss) and np.isnan(grad).any()
                assert np.isnan(net.grad_input(*spoilt)).any()


@pytest.mark.parametrize("n", [1, 2, 47, 48, 127, 128, 200, 1024, 5000, 100_000])
@pytest.mark.parametrize("sizes", [(3, 2), (784, 100, 10), (1024, 1024, 512)], ids=str)
def test_tasks_cover_every_row_once(sizes, n):
    net = fg.MLP(sizes, dtype="f4")
    vector = plans.network_plan(net.spec, n, LOSS | GRADIENT, False).vector
    covered, tasks = 0, 0
    for origin in range(0, n, vector[PLAN.chunk_rows]):
        stored = min(vector[PLAN.chunk_rows], n - origin)
        for first in range(0, stored, vector[PLAN.task_rows]):
            covered += min(vector[PLAN.task_rows], stored - first)
            tasks += 1
    assert (covered, tasks) == (n, vector[PLAN.tasks])
    if vector[PLAN.wide]:
        records = vector[PLAN.size :].reshape(-1, LAYER.size)
        ends = [*records[1:, LAYER.first_weight_task], vector[PLAN.weight_tasks]]
        for record, end in zip(records, ends):
            count = end - record[LAYER.first_weight_task]
            assert (count - 1) * record[LAYER.weight_rows] < record[LAYER.d]
            assert count * record[LAYER.weight_rows] >= record[LAYER.d]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_in_place_packed_and_panel_by_panel_give_the_same_bits(dtype, monkeypatch):
    rng = np.random.default_rng(5)
    net = fg.MLP((30, 300, 150, 3), "mse", dtype=dtype)
    theta = (0.3 * rng.normal(size=net.n_parameters)).astype(dtype)
    X, y = (rng.normal(size=(100, k)).astype(dtype) for k in (30, 3))
    set_tuning(monkeypatch.setattr, PARALLEL_FLOPS=0, wide=1)
    found = {}
    variants = {IN_PLACE: (128, 0), PACKED: (32, 0), PANEL_BY_PANEL: (32, 256)}
    for variant, (in_place, panels) in variants.items():
        monkeypatch.setattr(tuning, "IN_PLACE_ROWS", in_place)
        monkeypatch.setattr(tuning, "PANEL_BY_PANEL_ROWS", panels)
        forget_plans()
        net = fg.MLP(net.layer_sizes, "mse", dtype=dtype)
        vector = net._plan(100, LOSS | GRADIENT, False).vector
        assert vector[PLAN.size + LAYER.forward] == variant
        for threads in (1, 2):
            loss, grad = net.loss_and_grad(theta, X, y, threads=threads)
            found[variant, threads] = loss, grad.tobytes()
    forget_plans()
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packed_rows_of_weights_fill_tiles_of_every_width(dtype, monkeypatch):
    """Tiles whose height is no multiple of a packed panel's leave it to those that are."""
    set_tuning(monkeypatch.setattr, PARALLEL_FLOPS=0, wide=1)
    forget_plans()
    rng, vector = np.random.default_rng(6), lanes(dtype)
    X = rng.normal(size=(70, 104)).astype(dtype)
    for width in range(1, NV + 1):
        for k in ((width - 1) * vector + 3, width * vector):
            net = fg.MLP((104, k), "mse", dtype=dtype)
            plan = net._plan(70, LOSS | GRADIENT, False).vector
            theta = (0.3 * rng.normal(size=net.n_parameters)).astype(dtype)
            y = rng.normal(size=(70, k)).astype(dtype)
            if k > 3:  # those are transposed
                assert plan[PLAN.size + LAYER.weight_gradient] == PACKED_BOTH
            double = theta.astype(float), X.astype(float), y.astype(float), (104, k), "mse"
            _, expected = reference.mlp_loss_and_grad(*double)
            _, grad = net.loss_and_grad(theta, X, y)
            limit = (1e-5 if dtype == np.float32 else 1e-13) * np.abs(expected).max()
            np.testing.assert_allclose(grad, expected, rtol=0, atol=limit)
    forget_plans()


def test_workspaces_of_many_sizes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(tuning, "IDLE_BYTES", 2**20)
    forget_plans()
    net = fg.MLP([50, 100, 20])
    theta = net.init(0)
    X, y = np.ones((400, 50)), np.ones((400, 20))
    first = net.loss_and_grad(theta, X, y)
    made = []
    for n in range(360, 400):
        net.loss_and_grad(theta, X[:n], y[:n])
        made.append(net._plan(n, LOSS | GRADIENT, False))
    kept = [sum(buffer.nbytes for buffer in plan.free) for plan in made]
    sizes = [8 * plan.elements for plan in made]
    assert sum(kept) < 2**21 + tuning.KEPT_PLANS * max(sizes) < sum(sizes)
    assert all(kept[-tuning.KEPT_PLANS :])
    loss, grad = net.loss_and_grad(theta, X, y)
    assert loss == first[0]
    np.testing.assert_array_equal(grad, first[1])


def test_threads_that_must_be_woken_get_larger_works_only(monkeypatch):
    """As those of Numba's layer workqueue; the tasks, and so the bits, are the same."""
    net = fg.MLP([64, 100, 10])
    theta, X, y = net.init(0), np.ones((200, 64)), np.ones((200, 10))
    found, vectors, parallel = [], [], []
    for sleep in (False, True):
        monkeypatch.setattr(plans, "threads_sleep", lambda sleep=sleep: sleep)
        forget_plans()
        net._plans.clear()
        net._path.plans.clear()
        loss, grad = net.loss_and_grad(theta, X, y)
        found.append((loss, grad.tobytes()))
        vectors.append(net._plan(200, LOSS | GRADIENT, False).vector.tolist())
        parallel.append(net._plan(200, LOSS | GRADIENT, False).parallel)
        large = fg.MLP([900, 900, 9]).spec
        parallel.append(plans.network_plan(large, 900, LOSS | GRADIENT, False).parallel)
        parallel.append(plans.neuron_plan(10_000, 20, net.dtype, False).parallel)
        parallel.append(plans.neuron_plan(10_000, 300, net.dtype, False).parallel)
    assert parallel == [True, True, True, True, False, True, False, True]
    assert found[0] == found[1] and vectors[0] == vectors[1]
    forget_plans()


@pytest.mark.parametrize(
    ("environment", "sleep"),
    [({}, None), ({"NUMBA_THREADING_LAYER": "workqueue"}, True),
     ({"NUMBA_THREADING_LAYER": "omp"}, False),
     ({"NUMBA_THREADING_LAYER_PRIORITY": "workqueue omp tbb"}, True)],
)  # fmt: skip
def test_which_threads_sleep_is_known_before_any_is_started(environment, sleep):
    run_python(f"""
        import fastgrad as fg
        from fastgrad._core.threads import threads_sleep
        assert {sleep} in (None, threads_sleep())
        assert fg.config()["threading layer"] == "not started"
        """, **environment)  # fmt: skip
