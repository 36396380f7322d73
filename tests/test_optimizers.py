"""Optimisers against an independent float64 implementation written from the papers."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import optimizers, schedules

P, STEPS = 37, 100


def sgd(theta, g, state, t, lr):
    return theta - lr * g


def momentum(theta, g, state, t, lr, mu=0.9):
    state["v"] = mu * state.get("v", 0.0) + g
    return theta - lr * state["v"]


def nesterov(theta, g, state, t, lr, mu=0.9):
    state["v"] = mu * state.get("v", 0.0) + g
    return theta - lr * (g + mu * state["v"])


def rmsprop(theta, g, state, t, lr, rho=0.99, eps=1e-8):
    state["s"] = rho * state.get("s", 0.0) + (1 - rho) * g**2
    return theta - lr * g / (np.sqrt(state["s"]) + eps)


def adam(theta, g, state, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Algorithm 1 of arXiv 1412.6980."""
    state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g**2
    m = state["m"] / (1 - beta1**t)
    v = state["v"] / (1 - beta2**t)
    return theta - lr * m / (np.sqrt(v) + eps)


def expected(rule, theta, gradients, lr, decay=0.0, decoupled=False, clip=None):
    theta, state = theta.astype(np.float64), {}
    for t, g in enumerate(gradients.astype(np.float64), 1):
        rate = lr(t - 1) if callable(lr) else lr
        if clip is not None:
            g = g * min(1.0, clip / (np.linalg.norm(g) + 1e-6))
        if decoupled:
            theta = theta * (1 - rate * decay)
        elif decay:
            g = g + decay * theta
        theta = rule(theta, g, state, t, rate)
    return theta


KINDS = {
    "SGD": (fg.SGD, sgd, 0.05),
    "Momentum": (fg.Momentum, momentum, 0.01),
    "Nesterov": (fg.Nesterov, nesterov, 0.01),
    "RMSprop": (fg.RMSprop, rmsprop, 0.003),
    "Adam": (fg.Adam, adam, 0.01),
    "AdamW": (fg.AdamW, adam, 0.01),
}


def data(dtype, p=P):
    rng = np.random.default_rng(3)
    return rng.standard_normal(p).astype(dtype), rng.standard_normal((STEPS, p)).astype(dtype)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 4e-6)])
@pytest.mark.parametrize("decay, clip", [(0.0, None), (0.1, None), (0.0, 3.0), (0.02, 3.0)])
def test_a_hundred_steps(name, dtype, tolerance, decay, clip):
    """float32 rounds 100 times against float64 here; 1e-6 against PyTorch's own float32 is in
    interop."""
    kind, rule, lr = KINDS[name]
    theta, gradients = data(dtype)
    want = expected(rule, theta, gradients, lr, decay, name == "AdamW", clip)
    opt = kind(lr, weight_decay=decay, clip_norm=clip)
    for g in gradients:
        opt.step(theta, g)
    assert theta.dtype == dtype
    np.testing.assert_allclose(theta, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", KINDS)
@given(p=st.integers(1, 67), seed=st.integers(0, 99))
def test_any_size(name, p, seed):
    kind, rule, lr = KINDS[name]
    rng = np.random.default_rng(seed)
    theta, gradients = rng.standard_normal(p), rng.standard_normal((3, p))
    want = expected(rule, theta, gradients, lr, 0.1, name == "AdamW")
    opt = kind(lr, weight_decay=0.1)
    before = gradients.copy()
    for g in gradients:
        opt.step(theta, g)
    np.testing.assert_allclose(theta, want, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(gradients, before)


@pytest.mark.parametrize("name", KINDS)
def test_saved_state_goes_on_with_the_same_bits(name):
    kind, _, lr = KINDS[name]
    theta, gradients = data("float32")
    straight, opt = theta.copy(), kind(lr)
    for g in gradients:
        opt.step(straight, g)
    opt = kind(lr)
    for g in gradients[:41]:
        opt.step(theta, g)
    saved = opt.state_dict()
    opt.step(theta.copy(), gradients[0])  # what was saved does not move
    resumed = pickle.loads(pickle.dumps(kind(lr)))
    resumed.load_state_dict(saved)
    for g in gradients[41:]:
        resumed.step(theta, g)
    assert theta.tobytes() == straight.tobytes()
    assert resumed.steps == STEPS


def test_copy_is_apart():
    opt, theta = fg.Adam(), np.ones(3)
    opt.step(theta, np.ones(3))
    twin = opt.copy()
    twin.step(theta, np.ones(3))
    assert (opt.steps, twin.steps) == (1, 2)
    assert opt.state_dict()["state"][0, 0] != twin.state_dict()["state"][0, 0]


def test_hyper_parameters_may_change_between_steps():
    theta, opt = np.zeros(2), fg.SGD(1.0)
    opt.step(theta, np.ones(2))
    opt.weight_decay = 1.0
    opt.step(theta, np.zeros(2))
    np.testing.assert_array_equal(theta, 0.0)


def test_a_number_set_later_is_that_of_the_constructor():
    for made, name, value in [
        (fg.SGD(0.3), "lr", 0.3), (fg.SGD(weight_decay=0.5), "weight_decay", 0.5),
        (fg.SGD(clip_norm=1), "clip_norm", 1), (fg.Momentum(momentum=0.2), "momentum", 0.2),
        (fg.RMSprop(rho=0.5), "rho", 0.5), (fg.Adam(beta1=0.5), "beta1", 0.5),
        (fg.AdamW(beta2=0.5), "beta2", 0.5), (fg.Adam(eps=1e-3), "eps", 1e-3),
    ]:  # fmt: skip
        opt = type(made)()
        setattr(opt, name, value)
        assert opt.settings() == made.settings()
        theta, other = np.ones(2), np.ones(2)
        opt.step(theta, np.full(2, 3.0))
        made.step(other, np.full(2, 3.0))
        assert theta.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("lr", -1, ValueError, "lr is -1"),
        ("lr", "fast", TypeError, "lr is 'fast'"),
        ("weight_decay", np.nan, ValueError, "weight_decay is nan"),
        ("clip_norm", 0, ValueError, "clip_norm is 0"),
        ("beta1", 1, ValueError, "beta1 is 1.0; expected 0 to below 1"),
        ("eps", 0, ValueError, "eps is 0"),
        ("learning_rate", 0.1, AttributeError, "Adam has no number 'learning_rate'; it has lr, w"),
        ("momentum", 0.1, AttributeError, "Adam has no number 'momentum'"),
        ("steps", 3, AttributeError, "Adam has no number 'steps'"),
    ],
)
def test_a_wrong_number_set_later_is_refused(name, value, error, words):
    opt = fg.Adam()
    before = repr(opt)
    with pytest.raises(error, match=words):
        setattr(opt, name, value)
    assert repr(opt) == before


@pytest.mark.parametrize("name", KINDS)
def test_schedule_is_asked_for_each_step(name):
    kind, rule, lr = KINDS[name]
    schedule = schedules.Warmup(schedules.Cosine(lr, steps=60, final=lr / 10), steps=20)
    theta, gradients = data("float64")
    want = expected(rule, theta, gradients, schedule, 0.0, name == "AdamW")
    opt = kind(schedule, weight_decay=0.0)
    for g in gradients:
        opt.step(theta, g)
    np.testing.assert_allclose(theta, want, rtol=1e-12, atol=1e-12)


def test_schedules_by_definition():
    step = schedules.Step(0.8, every=3, factor=0.5)
    assert [step(i) for i in range(7)] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]
    cosine = schedules.Cosine(1.0, steps=10)
    assert cosine(0) == 1.0 and cosine(10) == 0.0 and cosine(10**9) == 0.0
    assert cosine(3) == pytest.approx(0.5 * (1 + math.cos(0.3 * math.pi)))
    warm = schedules.Warmup(schedules.Step(1.0, every=2), steps=4)
    assert [warm(i) for i in range(7)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.1]


@given(lr=st.floats(0, 10), steps=st.integers(1, 50), start=st.integers(1, 20))
def test_warmup_and_cosine_stay_between_zero_and_the_rate(lr, steps, start):
    schedule = schedules.Warmup(schedules.Cosine(lr, steps), start)
    rates = [schedule(i) for i in range(steps + start + 5)]
    assert all(0 <= rate <= lr for rate in rates)
    assert rates[start - 1] == pytest.approx(lr) and rates[-1] == 0.0


def test_schedules_are_plain_values():
    schedule = schedules.Warmup(0.1, 5)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert fg.Adam(schedule).settings()["lr"] == "Warmup(Constant(lr=0.1), 5)"


def test_clipping_leaves_small_gradients_and_bounds_large_ones():
    theta, opt = np.zeros(8), fg.SGD(1.0, clip_norm=1.0)
    opt.step(theta, np.full(8, 0.1))
    np.testing.assert_array_equal(theta, -0.1)
    theta[:] = 0
    opt.step(theta, np.full(8, 1e6))
    assert np.linalg.norm(theta) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_nan_and_infinity_show(name, bad, clip):
    theta, opt = np.ones(20), KINDS[name][0](0.1, clip_norm=clip)
    g = np.ones(20)
    g[7] = bad
    opt.step(theta, g)
    opt.step(theta, np.ones(20))
    assert not np.isfinite(theta[7])


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: fg.SGD(-1.0), ValueError, "lr is -1.0"),
        (lambda: fg.SGD("fast"), TypeError, "lr is 'fast'"),
        (lambda: optimizers.Optimizer(0.1), TypeError, "not used by itself; expected SGD"),
        (lambda: fg.SGD(math.nan), ValueError, "lr is nan"),
        (lambda: fg.SGD(0.1, weight_decay=-1), ValueError, "weight_decay is -1"),
        (lambda: fg.SGD(0.1, clip_norm=0), ValueError, "clip_norm is 0"),
        (lambda: fg.Momentum(0.1, momentum=1.0), ValueError, "momentum is 1.0"),
        (lambda: fg.RMSprop(0.1, rho=-0.1), ValueError, "rho is -0.1"),
        (lambda: fg.RMSprop(0.1, eps=0), ValueError, "eps is 0"),
        (lambda: fg.Adam(beta1=1), ValueError, "beta1 is 1"),
        (lambda: fg.Adam(beta2=2), ValueError, "beta2 is 2"),
        (lambda: fg.Adam(eps=-1), ValueError, "eps is -1"),
        (lambda: schedules.Step(0.1, every=0), ValueError, "every is 0"),
        (lambda: schedules.Cosine(0.1, steps=1.5), TypeError, "steps is 1.5"),
        (lambda: schedules.Warmup(-1, 3), ValueError, "after is -1"),
    ],
)
def test_wrong_numbers_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    "opt, words",
    [
        (fg.Adam(eps=1e-50), "eps is 1e-50"),
        (fg.RMSprop(eps=2.0**-150), "eps is 7.0"),
        (fg.AdamW(eps=1e39), r"eps is 1e\+39"),
        (fg.SGD(clip_norm=1e-46), "clip_norm is 1e-46"),
        (fg.Momentum(weight_decay=1e39), r"weight_decay is 1e\+39"),
        (fg.SGD(1e39), r"lr is 1e\+39"),
    ],
)
def test_numbers_that_float32_makes_zero_or_infinite_are_named(opt, words):
    theta = np.ones(3, np.float32)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{words}.*; expected a number that float32 holds"):
            opt.step(theta, np.zeros_like(theta))
    net = fg.MLP([2, 1], dtype="float32")
    with pytest.raises(ValueError, match=words):
        fg.fit(net, np.ones((4, 2)), np.ones(4), optimizer=opt)
    assert (theta == 1).all() and opt.steps == 0
    opt.reset()
    opt.step(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError):
        opt.step(theta, np.zeros_like(theta))


@pytest.mark.parametrize("eps", [1e-45, 1e-40, 1e38])
def test_the_smallest_and_largest_eps_that_float32_holds(eps):
    theta = np.ones(3, np.float32)
    fg.Adam(eps=eps).step(theta, np.array([0, 1, -1], np.float32))
    assert np.isfinite(theta).all() and theta[0] == 1


def test_wrong_arrays_are_refused_before_anything_is_written():
    opt, theta = fg.Adam(), np.ones(4)
    cases = [
        ([1.0], np.ones(1), TypeError, "one-dimensional NumPy array"),
        (np.ones((2, 2)), np.ones(4), TypeError, "one-dimensional"),
        (np.ones(4, int), np.ones(4), TypeError, "dtype int64"),
        (theta, np.ones(3), ValueError, r"grad has shape \(3,\)"),
        (theta, np.ones(4, np.float32), TypeError, "grad has dtype float32"),
        (np.ones(8)[::2], np.ones(4), ValueError, "C-contiguous"),
        (theta, theta, ValueError, "overlaps"),
    ]
    for t, g, error, words in cases:
        with pytest.raises(error, match=words):
            opt.step(t, g)
    assert opt.steps == 0
    np.testing.assert_array_equal(theta, 1.0)
    frozen = np.ones(4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        opt.step(frozen, np.ones(4))


def test_state_of_another_theta_is_refused():
    opt = fg.Adam()
    opt.step(np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match="state is for \\(4,\\)"):
        opt.step(np.ones(5), np.ones(5))
    with pytest.raises(ValueError, match="float64"):
        opt.step(np.ones(4, np.float32), np.ones(4, np.float32))
    opt.reset()
    opt.step(np.ones(5), np.ones(5))


def test_wrong_states_are_refused():
    opt = fg.Adam()
    good = {"name": "Adam", "steps": 1, "state": np.zeros((2, 3))}
    for saved, error, words in [
        (None, TypeError, "saved is .*; expected a dict"),
        ({"steps": 1}, TypeError, "saved is .*; expected a dict"),
        ({**good, "name": "SGD"}, ValueError, "of SGD"),
        ({**good, "steps": -1}, ValueError, "steps is -1"),
        ({**good, "state": np.zeros((1, 3))}, ValueError, r"\(2, p\)"),
        ({**good, "state": None}, ValueError, "missing"),
    ]:
        with pytest.raises(error, match=words):
            opt.load_state_dict(saved)
    assert opt.steps == 0


def test_a_schedule_must_give_a_rate():
    with pytest.raises(ValueError, match="lr at step 0 is -1"):
        fg.SGD(lambda step: -1.0).step(np.ones(1), np.ones(1))
    with pytest.raises(TypeError, match="lr at step 0"):
        fg.SGD(lambda step: "x").step(np.ones(1), np.ones(1))


def test_a_rate_that_grows_beyond_all_bounds_is_named():
    opt = fg.SGD(schedules.Warmup(schedules.Step(1.0, every=1, factor=2.0), steps=5))
    assert opt.rate(6) == 2.0
    with pytest.raises(ValueError, match="lr at step 2000 is inf; expected a finite number"):
        opt.rate(2000)
    assert schedules.Step(0.0, every=1, factor=2.0)(2000) == 0.0


def test_repr_shows_the_numbers():
    assert repr(fg.Nesterov(0.1, clip_norm=2)) == (
        "Nesterov(lr=0.1, momentum=0.9, weight_decay=0.0, clip_norm=2.0)"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make", [lambda: fg.Momentum(0.1), lambda: fg.RMSprop(0.1), lambda: fg.Adam(0.1)]
)
def test_a_state_that_decays_ends_at_zero_not_among_subnormal_numbers(make, dtype):
    optimizer = make()
    smallest = np.finfo(dtype).tiny
    theta = np.ones(3, dtype)
    optimizer.step(theta, np.array([1, 1e-30, np.nan], dtype))
    for _ in range(20_000):
        optimizer.step(theta, np.array([0, smallest / 8, 0], dtype))
    state = optimizer.state_dict()["state"]
    kept = state[np.isfinite(state)]
    assert not ((kept != 0) & (np.abs(kept) < smallest)).any()
    assert np.isnan(theta[2]) and np.isfinite(theta[:2]).all()


def test_a_pickle_whose_numbers_lie_otherwise_goes_on():
    optimizer, theta = fg.Adam(0.1), np.zeros(5)
    optimizer.step(theta, np.ones(5))
    state = {**vars(optimizer), "_hyper": np.array([9.0, 9.0, 9.0, 1.0, 9.0, 9.0, 9.0, 9.0])}
    other = object.__new__(fg.Adam)
    other.__setstate__(state)
    expected = theta.copy()
    other.copy().step(theta, np.ones(5))
    optimizer.step(expected, np.ones(5))
    np.testing.assert_array_equal(theta, expected)


@pytest.mark.parametrize("kind", [fg.RMSprop, fg.Adam, fg.AdamW])
@pytest.mark.parametrize("dtype, huge", [("float32", 3e19), ("float64", 2e154)])
def test_one_gradient_whose_square_overflows_freezes_nothing(kind, dtype, huge):
    """(1 - beta2) g^2 is a number of the dtype where g^2 is not."""
    opt, theta = kind(0.1), np.zeros(21, dtype)
    opt.step(theta, np.full(21, huge, dtype))
    assert np.isfinite(opt.state_dict()["state"]).all()
    before = theta.copy()
    for _ in range(3):
        opt.step(theta, np.full(21, huge, dtype))
    assert (theta < before).all()


@pytest.mark.parametrize("beta1", [0.0, 0.3, 0.5, 0.6])
def test_a_small_gradient_after_a_large_one_keeps_its_digits(beta1):
    """m = g + beta1 (m - g) where beta1 is small: m + (1 - beta1) (g - m) would round as large as
    the m before (beta1 = beta2 = 0: by 5.7e-5 of the step)."""
    opt, theta = fg.Adam(1.0, beta1=beta1, beta2=0.0), np.zeros(1, np.float32)
    m, gradients = 0.0, np.array([1e4, 1.0, 3e-3, 0.7], np.float32)
    for t, g in enumerate(gradients.astype(np.float64), 1):
        before = theta.astype(np.float64)
        opt.step(theta, np.array([g], np.float32))
        m = beta1 * m + (1 - beta1) * g
        step = m / (1 - beta1**t) / (g + 1e-8)
        assert before - theta == pytest.approx(step, rel=1e-6 * max(1.0, abs(before[0])))


@pytest.mark.parametrize("dtype, large", [("float32", 3e38), ("float64", 1e200)])
def test_a_gradient_is_clipped_though_its_squares_overflow(dtype, large):
    theta = np.zeros(40, dtype)
    fg.SGD(1.0, clip_norm=2.0).step(theta, np.full(40, large, dtype))
    np.testing.assert_allclose(theta, -2 / np.sqrt(40), rtol=1e-6)
    fg.SGD(1.0, clip_norm=2.0).step(theta, np.array([np.inf, *np.zeros(39)], dtype))
    assert np.isnan(theta[0])  # infinite, and no norm can clip it


@pytest.mark.parametrize(
    "name, value", [("lr", 1e39), ("weight_decay", 1e39), ("clip_norm", 1e-50), ("eps", 1e-50)]
)
def test_a_number_that_float32_does_not_hold_is_refused_after_a_step_too(name, value):
    opt, theta = fg.Adam(clip_norm=1.0), np.zeros(3, np.float32)
    opt.step(theta, theta + 1)
    setattr(opt, name, value)
    before = theta.copy()
    with pytest.raises(ValueError, match=f"{name} is .*; expected a number that float32 holds"):
        opt.step(theta, theta + 1)
    assert theta.tobytes() == before.tobytes() and opt.steps == 1


def test_a_schedule_that_leaves_float32_is_refused_at_that_step():
    opt = fg.SGD(lambda step: 10.0 ** (38 + step))
    theta = np.zeros(3, np.float32)
    opt.step(theta, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="lr at step 1 is 1e\\+39; expected a number that float32"):
        opt.step(theta, np.zeros(3, np.float32))
    net = fg.MLP([2, 1], dtype="float32")
    with pytest.raises(ValueError, match="lr at step 1 is 1e\\+39"):
        fg.fit(net, np.ones((4, 2)), np.ones(4), optimizer=opt.copy(), epochs=1)
