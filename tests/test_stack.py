"""Stacks (formula 39): each network of a stack has the bits of its own call."""

import numpy as np
import pytest
from helpers import DTYPES, LOSSES, assert_same_bits, draw_problem, run_python
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._core.choice import CallChoice


def draw_stack(rng, m, sizes, n, loss, dtype, own):
    """(thetas, X, y, sample_weight), the last three for each network where `own`."""
    drawn = [draw_problem(rng, sizes, n, loss, dtype, weighted=True) for _ in range(m)]
    thetas = np.stack([problem[0] for problem in drawn])
    parts = [np.stack(part) if own else part[0] for part in list(zip(*drawn))[1:]]
    return thetas, *parts


def check_stack(net, thetas, X, y, s=None, own=False, **options):
    losses, grads = fg.stack.loss_and_grad(net, thetas, X, y, s, **options)
    outputs = fg.stack.predict(net, thetas, X, **options)
    assert losses.dtype == np.float64 and losses.shape == (len(thetas),)
    for i, theta in enumerate(thetas):
        arrays = [a if a is None or not own else a[i] for a in (X, y, s)]
        loss, grad = net.loss_and_grad(theta, *arrays)
        assert losses[i] == loss
        assert_same_bits(grads[i], grad)
        assert_same_bits(outputs[i], net.predict(theta, arrays[0]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_row39_each_network_has_the_bits_of_its_own_call(rng, loss, dtype):
    sizes = [3, 9, 2]
    net = fg.MLP(sizes, loss, dtype=dtype, l2=0.1)
    for own in (False, True):
        thetas, X, y, s = draw_stack(rng, 7, sizes, 11, loss, dtype, own)
        check_stack(net, thetas, X, y, own=own)
        check_stack(net, thetas, X, y, s, own=own)


@given(
    m=st.integers(0, 9), n=st.integers(1, 40), own=st.booleans(), weighted=st.booleans(),
    widths=st.lists(st.integers(1, 20), min_size=2, max_size=4), threads=st.sampled_from([None, 1]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_row39_any_number_of_networks_rows_and_widths(m, n, own, weighted, widths, threads, seed):
    rng = np.random.default_rng(seed)
    net = fg.MLP(widths, dtype="float32")
    thetas, X, y, s = draw_stack(rng, max(m, 1), widths, n, "mse", net.dtype, own)
    arrays = [a[:m] if own else a for a in (X, y, s)]
    if not weighted:
        arrays[2] = None
    check_stack(net, thetas[:m], *arrays, own=own, threads=threads)


def test_row39_targets_of_one_output_with_and_without_a_column(rng):
    net = fg.MLP([3, 4, 1])
    thetas, X, y, s = draw_stack(rng, 5, [3, 4, 1], 6, "mse", net.dtype, True)
    for shape in ((5, 6, 1), (5, 6)):
        check_stack(net, thetas, X, y.reshape(shape), s, own=True)
    for shape in ((6, 1), (6,)):
        check_stack(net, thetas, X[0], y[0].reshape(shape), s[0])
    losses, _ = fg.stack.loss_and_grad(net, thetas, X[0], y[:, :, 0], s)  # mixed
    assert losses[2] == net.loss(thetas[2], X[0], y[2], s[2])


def test_row39_a_step_down_each_gradient_lowers_each_loss(rng):
    net = fg.MLP([4, 8, 3], "cross_entropy")
    thetas, X = fg.stack.init(net, range(20)), rng.normal(size=(30, 4))
    y = rng.integers(0, 3, 30)
    losses, grads = fg.stack.loss_and_grad(net, thetas, X, y)
    eps = 1e-6
    ahead, _ = fg.stack.loss_and_grad(net, thetas + eps * grads, X, y)
    behind, _ = fg.stack.loss_and_grad(net, thetas - eps * grads, X, y)
    np.testing.assert_allclose((ahead - behind) / (2 * eps), (grads**2).sum(axis=1), rtol=1e-5)
    assert (behind < losses).all()


def test_init_is_a_row_for_each_seed():
    net = fg.MLP([3, 4, 2], dtype="float32")
    thetas = fg.stack.init(net, [5, 0, 5], method="glorot")
    assert thetas.dtype == net.dtype
    for row, seed in zip(thetas, (5, 0, 5)):
        assert_same_bits(row, net.init(seed, "glorot"))
    assert fg.stack.init(net, []).shape == (0, net.n_parameters)


def test_out_is_written_and_returned(rng):
    net = fg.MLP([3, 4, 2])
    thetas, X, y, s = draw_stack(rng, 4, [3, 4, 2], 6, "mse", net.dtype, True)
    out = np.full_like(thetas, np.nan)
    _, grads = fg.stack.loss_and_grad(net, thetas, X, y, s, out=out)
    assert grads is out
    assert_same_bits(out, fg.stack.loss_and_grad(net, thetas, X, y, s)[1])
    for wrong in (thetas, out[:3], out.astype("f4"), out[:, ::-1]):
        before = wrong.copy()
        with pytest.raises((TypeError, ValueError), match="out"):
            fg.stack.loss_and_grad(net, thetas, X, y, s, out=wrong)
        assert_same_bits(wrong, before)


THREADS = """
import sys
from hashlib import sha256
import numpy as np
import fastgrad as fg
from fastgrad.kernels import tuning
from helpers import cut_plans
from test_stack import check_stack, draw_stack

cut_plans("many tasks")  # so that the last networks have threads inside, too
digest = sha256()
for threads in (1, 2, 3, 8):
    fg.set_num_threads(threads)
    for m in (1, 2, 7, 17):
        rng = np.random.default_rng(m)
        for loss in ("mse", "cross_entropy"):
            net = fg.MLP([5, 9, 3], loss, dtype="float32")
            for own in (False, True):
                arrays = draw_stack(rng, m, [5, 9, 3], 67, loss, net.dtype, own)
                check_stack(net, *arrays, own=own)
                losses, grads = fg.stack.loss_and_grad(net, *arrays)
                print(m, loss, own, sha256(losses.tobytes() + grads.tobytes()).hexdigest())
"""


def test_row39_the_same_bits_on_1_2_3_and_8_threads():
    lines = run_python(THREADS, NUMBA_NUM_THREADS="8").split("\n")[:-1]
    quarter = len(lines) // 4
    assert quarter == 16
    for turn in range(1, 4):
        assert lines[:quarter] == lines[turn * quarter : (turn + 1) * quarter]


GUARDED = """
import sys
import numpy as np
import fastgrad as fg
from guards import check
from helpers import cut_plans
from test_stack import draw_stack

if sys.argv[1] == "parallel":
    cut_plans("many tasks")
rng = np.random.default_rng(1)
cases = [(1, 1, [1, 1]), (3, 7, [3, 5, 2]), (5, 13, [17, 9, 1]), (6, 33, [4, 32, 32, 2])]
for m, n, sizes in cases:
    for loss in ("mse", "cross_entropy") if sizes[-1] > 1 else ("logistic",):
        for dtype in ("float32", "float64"):
            net = fg.MLP(sizes, loss, dtype=dtype)
            for own in (False, True):
                arrays = draw_stack(rng, m, sizes, n, loss, net.dtype, own)
                check(lambda *a: fg.stack.loss_and_grad(net, *a), *arrays)
                check(lambda *a: fg.stack.loss_and_grad(net, *a), *arrays[:3])
                check(lambda *a: fg.stack.predict(net, *a), *arrays[:2])
print("swept")
"""


@pytest.mark.parametrize("plans", ["serial", "parallel"])
def test_arrays_of_a_stack_flush_against_unreadable_pages(plans):
    assert run_python(GUARDED, plans, NUMBA_NUM_THREADS="2") == "swept\n"


NET = fg.MLP([3, 4, 2], "mse")
LABELLED = fg.MLP([3, 4, 2], "cross_entropy")
GOOD = dict(
    thetas=np.zeros((5, 26)), X=np.zeros((7, 3)), y=np.zeros((7, 2)), sample_weight=np.ones(7)
)
WRONG = [
    (NET, "thetas", np.zeros(26), r"thetas has shape \(26,\).*\(m, 26\).*thetas\[None, :\]"),
    (NET, "thetas", np.zeros((5, 25)), r"thetas has shape \(5, 25\); expected \(m, 26\)"),
    (NET, "thetas", np.zeros((5, 26), "f4"), "thetas has dtype float32"),
    (NET, "X", np.zeros((4, 7, 3)), r"X has shape \(4, 7, 3\), so it is of 4 .*thetas has 5"),
    (NET, "X", np.zeros((5, 7, 2)), r"X has shape \(5, 7, 2\); expected \(5, n, 3\)"),
    (NET, "X", np.zeros((5, 0, 3)), "X has 0 rows"),
    (NET, "X", np.zeros(3), r"X has shape \(3,\); expected \(n, 3\) or \(5, n, 3\)"),
    (NET, "X", np.zeros((7, 3), "f4"), "X has dtype float32"),
    (NET, "y", np.zeros((6, 7, 2)), r"y has shape .* of 6 networks; thetas has 5"),
    (NET, "y", np.zeros((5, 8, 2)), "y has 8 rows a network, X has 7"),
    (NET, "y", np.zeros((5, 7, 3)), "y"),
    (NET, "y", np.zeros((5, 7, 2), "f4"), "y has dtype float32"),
    (NET, "y", np.zeros((7, 3)), "y has shape"),
    (LABELLED, "y", np.zeros((4, 7), int), "y has shape .* of 4 networks; thetas has 5"),
    (LABELLED, "y", np.eye(7, 2, dtype=int), "argmax"),
    (LABELLED, "y", np.full((5, 7), 0.5), "y has dtype float64; expected integer class labels"),
    (LABELLED, "y", np.array([[0] * 7] * 4 + [[0, 1, 2, 0, 0, 0, 0]]), r"y\[4\] has the label 2"),
    (NET, "sample_weight", np.ones((4, 7)), "sample_weight has shape .* of 4 networks"),
    (NET, "sample_weight", np.ones((5, 8)), "sample_weight has 8 rows a network, X has 7"),
    (NET, "sample_weight", np.ones((5, 7), "f4"), "sample_weight has dtype float32"),
    (NET, "sample_weight", np.array([[1.0] * 7] * 4 + [[0.0] * 7]), r"sample_weight\[4\] is zero"),
    (NET, "sample_weight", np.array([[1.0] * 7] * 4 + [[-1.0] + [2.0] * 6]), r"\[4\] has the val"),
    (NET, "threads", 0, "threads is 0"),
    (5, "threads", 1, "net is a int; expected an MLP"),
]


@pytest.mark.parametrize(("net", "name", "value", "words"), WRONG)
def test_row39_bad_input_is_named_and_nothing_is_written(net, name, value, words):
    arguments = dict(GOOD)
    if net is LABELLED:
        arguments["y"] = np.zeros(7, int)
    out = np.full((5, 26), 3.0)
    arguments |= {name: value, "out": out}
    with pytest.raises((TypeError, ValueError), match=words):
        fg.stack.loss_and_grad(net, **arguments)
    assert (out == 3.0).all()
    if name in ("thetas", "X", "threads") and "0 rows" not in words:
        with pytest.raises((TypeError, ValueError), match=words):
            options = {"threads": value} if name == "threads" else {}
            fg.stack.predict(net, arguments["thetas"], arguments["X"], **options)


def test_seeds_that_are_no_sequence():
    for wrong in (10, "10", None):
        with pytest.raises(TypeError, match="seeds is"):
            fg.stack.init(NET, wrong)
    with pytest.raises(TypeError, match=r"seeds\[1\] is 1.5; expected None, an integer"):
        fg.stack.init(NET, [3, 1.5])


def test_nan_of_one_network_shows_in_its_loss_alone(rng):
    thetas, X, y, _ = draw_stack(rng, 4, [3, 4, 2], 6, "mse", NET.dtype, True)
    X[2, 1, 1] = np.nan
    losses, grads = fg.stack.loss_and_grad(NET, thetas, X, y)
    assert np.isnan(losses).tolist() == [False, False, True, False]
    assert np.isfinite(grads[[0, 1, 3]]).all()


# ensembles


@pytest.mark.parametrize("loss", ["mse", "poisson", "logistic", "cross_entropy"])
def test_an_ensemble_predicts_the_mean_of_what_its_networks_predict(rng, loss):
    net = fg.MLP([3, 8, 2], loss)
    thetas, X = fg.stack.init(net, range(6)), rng.normal(size=(40, 3))
    z = fg.stack.ensemble(net, thetas, X)

    def predicted(out):
        if loss == "mse":
            return out
        e = np.exp(out)
        if loss == "poisson":
            return e
        return e / (1 + e) if loss == "logistic" else e / e.sum(axis=1, keepdims=True)

    wanted = np.mean([predicted(net.predict(theta, X)) for theta in thetas], axis=0)
    np.testing.assert_allclose(predicted(z), wanted, rtol=1e-13)
    for row in range(0, 40, 7):
        assert_same_bits(fg.stack.ensemble(net, thetas, X[row : row + 1]), z[row : row + 1])


def test_an_ensemble_of_far_logits_keeps_small_probabilities():
    net = fg.MLP([1, 2], "cross_entropy")
    thetas = np.array([[0.0, 0.0, 0.0, 1000.0], [0.0, 0.0, 0.0, 800.0]])  # e^-1000, e^-800
    z = fg.stack.ensemble(net, thetas, np.ones((1, 1)))
    np.testing.assert_allclose(z[0, 1] - z[0, 0], 800 + np.log(2))
    logistic = fg.MLP([1, 1], "logistic")
    z = fg.stack.ensemble(logistic, np.array([[0.0, -1000.0], [0.0, -800.0]]), np.ones((1, 1)))
    np.testing.assert_allclose(z[0, 0], -800 - np.log(2))
    with pytest.raises(ValueError, match="thetas has 0 networks"):
        fg.stack.ensemble(net, thetas[:0], np.ones((1, 1)))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "poisson"])
def test_evaluate_scores_the_outputs_of_an_ensemble(rng, loss):
    net = fg.MLP([3, 8, 2], loss, l2=0.5)
    thetas, X, y, s = draw_stack(rng, 4, [3, 8, 2], 30, loss, net.dtype, False)
    found = fg.evaluate(net, thetas, X, y, s)
    out = fg.stack.ensemble(net, thetas, X)
    passed_on = fg.MLP([2, 2], loss)
    theta = passed_on.flatten([(np.eye(2), np.zeros(2))])
    assert found == fg.evaluate(passed_on, theta, out, y, s)
    if loss == "mse":
        np.testing.assert_allclose(found.loss, np.average(((out - y) ** 2).mean(1), weights=s))


def test_row39_the_same_bits_where_threads_do_not_pay(rng, monkeypatch):
    net = fg.MLP([4, 32, 32, 2], dtype="float32")
    thetas, X = fg.stack.init(net, range(200)), rng.normal(size=(32, 4)).astype("f4")
    y = rng.normal(size=(32, 2)).astype("f4")
    losses, grads = fg.stack.loss_and_grad(net, thetas, X, y)
    asked = []
    monkeypatch.setattr(CallChoice, "parallel", lambda choice: bool(asked.append(1)))
    again, same = fg.stack.loss_and_grad(net, thetas, X, y)
    assert asked or fg.get_num_threads() == 1
    assert (again == losses).all() and same.tobytes() == grads.tobytes()
