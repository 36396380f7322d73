"""exp, log and log1p on vectors, against mpmath and on special values, in both precisions."""

import mpmath
import numpy as np
import pytest
from helpers import DTYPES, F32, lanes
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastgrad.kernels import vmath
from fastgrad.kernels.simd import I64, Vectors, element_type, pointer

INFO = {dtype: np.finfo(dtype) for dtype in DTYPES}


def over_array(name):
    """A compiled loop out = vmath.<name>(x) over whole vectors."""

    def typed(typingctx, out, x, blocks):
        def codegen(context, builder, signature, args):
            vec = Vectors(builder, element_type(signature.args[0]))
            count = context.cast(builder, args[2], signature.args[2], types.int64)
            with cgutils.for_range(builder, count, intp=ir.IntType(64)) as block:
                at = builder.mul(block.index, I64(vec.lanes))
                value = vmath.FUNCTIONS[name](vec, vec.load(builder.gep(args[1], [at])))
                vec.store(value, builder.gep(args[0], [at]))
            return context.get_dummy_value()

        return types.void(out, x, blocks), codegen

    body = intrinsic(typed)

    @njit(error_model="numpy", fastmath={"contract"})
    def loop(out, x, blocks):
        body(pointer(out), pointer(x), blocks)

    def apply(x):
        width = lanes(x.dtype)
        padded = np.concatenate([x, np.ones(-x.size % width, x.dtype)])
        out = np.empty_like(padded)
        loop(out, padded, padded.size // width)
        return out[: x.size]

    return apply


VECTOR = {name: over_array(name) for name in vmath.FUNCTIONS}


def ulps(got, x, exact):
    """The largest error in units of the exact result's last place (of a subnormal's, where it is
    one)."""
    dtype, worst = got.dtype, 0.0
    with mpmath.workdps(40):
        for value, argument in zip(got, x):
            true = exact(mpmath.mpf(float(argument)))
            unit = float(np.spacing(np.abs(dtype.type(float(true)))))
            worst = max(worst, float(abs(mpmath.mpf(float(value)) - true) / unit))
    return worst


def draw(dtype, name, n=3000):
    """Arguments of all sizes: dense near 0 and 1, up to the ends of the range."""
    rng = np.random.default_rng(6)
    info = INFO[dtype]
    if name == "exp":
        low, high = np.log(float(info.smallest_normal)), np.log(float(info.max))
        parts = [
            rng.uniform(low, high * 0.9999, n),
            rng.normal(size=n),
            rng.normal(size=n) * 1e-5,
            np.arange(-40, 40) * np.log(2) / 2,
            rng.uniform(low - 15, low, n // 4),
        ]
        return np.concatenate(parts).astype(dtype)
    first, last = np.log2(float(info.smallest_normal)) + 1, np.log2(float(info.max)) - 1
    powers = 2.0 ** rng.uniform(first, last, n)
    parts = [
        powers,
        rng.uniform(0.5, 2, n),
        1 + rng.normal(size=n) * 1e-4,
        2.0 ** np.arange(-60, 60),
    ]
    if name == "log1p":
        parts += [rng.uniform(0, 1, n), 2.0 ** -rng.uniform(0, 60, n)]
        parts[2] = np.abs(parts[2])
        parts[0] = 2.0 ** rng.uniform(first, 40, n)
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "bound"), [("exp", 1.2), ("log", 1.5), ("log1p", 2.0)])
def test_error_against_mpmath(name, bound, dtype):
    x = draw(dtype, name)
    worst = ulps(VECTOR[name](x), x, getattr(mpmath, name))
    assert worst <= bound, f"{worst:.3f} ulp"


@pytest.mark.parametrize(("name", "bound"), [("exp", 1.2), ("log", 1.5), ("log1p", 2.0)])
def test_float32_densely_against_float64(name, bound):
    """A million arguments; NumPy's float64 stands for the exact value."""
    low, high = {"exp": (-103.0, 88.7), "log": (1.2e-38, 100.0), "log1p": (0.0, 1.0)}[name]
    x = np.linspace(low, high, 1_000_001).astype(F32)
    exact = getattr(np, name)(x.astype(float))
    unit = np.spacing(np.abs(exact).astype(F32)).astype(float)
    assert (np.abs(VECTOR[name](x) - exact) / unit).max() <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_of_exp(dtype):
    far = 1e30
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, far, -far, 1e-30, -1e-30], dtype)
    expected = np.array([1, 1, np.inf, 0, np.nan, np.inf, 0, 1, 1], dtype)
    np.testing.assert_array_equal(VECTOR["exp"](x), expected)
    info = INFO[dtype]
    beyond, within = np.log(float(info.max)) * 1.0001, np.log(float(info.max)) * 0.9999
    assert np.isinf(VECTOR["exp"](np.array([beyond], dtype)))[0]
    assert np.isfinite(VECTOR["exp"](np.array([within], dtype)))[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_goes_down_to_the_smallest_subnormal(dtype):
    info = INFO[dtype]
    last = np.log(float(info.smallest_normal)) - np.log(2) * (info.nmant - 1)
    x = np.linspace(last, np.log(float(info.smallest_normal)), 999).astype(dtype)
    got = VECTOR["exp"](x)
    assert (got > 0).all() and got[0] < info.smallest_normal / 1000
    assert ulps(got, x, mpmath.exp) <= 1.0
    assert VECTOR["exp"](np.array([last - 3], dtype))[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_never_falls(dtype):
    x = np.linspace(-20, 20, 200_000).astype(dtype)
    assert (np.diff(VECTOR["exp"](x)) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_of_log_and_log1p(dtype):
    x = np.array([1.0, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(VECTOR["log"](x), np.array([0, np.inf, np.nan], dtype))
    subnormal = INFO[dtype].smallest_subnormal
    x = np.array([0.0, subnormal, 1e-30, np.nan], dtype)
    np.testing.assert_array_equal(VECTOR["log1p"](x), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_absolute_clears_the_sign_alone(dtype):
    tiny = INFO[dtype].smallest_subnormal
    x = np.array([-0.0, 0.0, -1.5, 2.0, -np.inf, np.nan, -np.nan, -tiny], dtype)
    got = VECTOR["absolute"](x)
    np.testing.assert_array_equal(
        got, np.array([0, 0, 1.5, 2, np.inf, np.nan, np.nan, tiny], dtype)
    )
    assert not np.signbit(got).any()


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


SIGNED = {"tanh": mpmath.tanh, "sigmoid": sigmoid, "expm1_negative": mpmath.expm1}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SIGNED)
def test_tanh_sigmoid_and_expm1_against_mpmath(name, dtype):
    """2 ulp, near 0, where they saturate, and at numbers of all sizes."""
    rng = np.random.default_rng(16)
    x = np.concatenate([
        rng.normal(size=3000) * 2, rng.uniform(-0.5, 0.5, 3000), np.linspace(-25, 25, 2001),
        rng.choice([-1, 1], 2000) * 10.0 ** rng.uniform(-30, 1.5, 2000), np.arange(-40, 40) / 2,
        np.arange(-60, 60) * np.log(2) / 2,
    ]).astype(dtype)  # fmt: skip
    if name == "sigmoid":
        x = x[np.abs(x) < 80]
    elif name == "expm1_negative":
        x = -np.abs(x)
    worst = ulps(VECTOR[name](x), x, SIGNED[name])
    assert worst <= 2.0, f"{worst:.3f} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_of_tanh_and_sigmoid(dtype):
    tiny = INFO[dtype].smallest_subnormal
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, tiny, -tiny], dtype)
    got = VECTOR["tanh"](x)
    np.testing.assert_array_equal(got, np.array([0, 0, 1, -1, np.nan, 1, -1, tiny, -tiny], dtype))
    assert np.signbit(got[1]) and not np.signbit(got[0])
    expected = np.array([0.5, 0.5, 1, 0, np.nan, 1, 0, 0.5, 0.5], dtype)
    np.testing.assert_array_equal(VECTOR["sigmoid"](x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_tanh_and_sigmoid_stay_in_their_range(name, dtype):
    got = VECTOR[name](np.linspace(-60, 60, 200_001).astype(dtype))
    assert got.max() == 1 and (got.min() == -1 if name == "tanh" else got.min() >= 0)
