"""exp, log and their kin on vectors: polynomials and exponent bits, the same on every machine.

Numba calls the C library's scalar exp and log; these stay in registers. Errors against mpmath
(`tests/test_vmath.py`): exp 1.2 ulp, log1p, expm1 of negative numbers, tanh and sigmoid 2 ulp, log
1.5, in both precisions, subnormals included.
NaN goes through every one of them; no float is converted to an integer, so none can be undefined.
"""

from __future__ import annotations

from .simd import Vectors

# exp(r) = 1 + r + r^2 P(r) on |r| <= ln(2)/2: Chebyshev fits, |error| 8e-9 (f32), 2e-19 (f64).
_EXP_F32 = (
    0.5,
    0.16666576845993977,
    0.04166655443768594,
    0.008363202971575855,
    0.0013926213466332444,
)
_EXP_F64 = (
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333326112,
    0.001388888888888373,
    0.0001984126987490126,
    2.4801587325605324e-05,
    2.7557255297969643e-06,
    2.755727357010214e-07,
    2.5105259538448494e-08,
    2.0914717341716378e-09,
)
# tanh(x) = x + x^3 P(x^2) for |x| <= 0.55: Chebyshev fits, |error| of P 4e-10 (f32), 2e-19 (f64).
_TANH_F32 = (
    -0.3333333329502591, 0.13333324200007313, -0.0539647004451583, 0.021818449128639904,
    -0.00852633305780133, 0.0025263907105745136,
)  # fmt: skip
_TANH_F64 = (
    -0.3333333333333333, 0.1333333333333331, -0.05396825396822037, 0.021869488534073906,
    -0.0088632354631468, 0.0035921267699626346, -0.001455819097151351, 0.0005899052969492733,
    -0.0002384727248015252, 9.455133052924858e-05, -3.372080112046316e-05, 7.874274345344419e-06,
)  # fmt: skip
_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has trailing zeros, so that n * part is exact.
_LN2_F32 = (0.693359375, -2.12194440054690583e-4)
_LN2_F64 = (0.693147180369123816490, 1.90821492927058770002e-10)
# Adding it leaves round(x) in the low mantissa bits (|x| < 2^22 and 2^51).
_ROUND_F32, _ROUND_F64 = 12582912.0, 6755399441055744.0
# Beyond these exp is 0 or infinity whatever the rounding.
_EXP_RANGE_F32, _EXP_RANGE_F64 = (-110.0, 90.0), (-760.0, 711.0)


def _polynomial(vec: Vectors, coefficients, x):
    result = vec.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = vec.fma(result, x, vec.const(c))
    return result


def _power_of_two(vec: Vectors, n):
    """2^n for an integer vector within the normal exponents."""
    bias, shift = (127, 23) if vec.is_f32 else (1023, 52)
    b = vec.builder
    bits = b.shl(b.add(n, vec.int_const(bias)), vec.int_const(shift))
    return b.bitcast(bits, vec.type)


def _exp_reduced(vec: Vectors, x):
    """(exp(r) - 1, n) of x = n ln 2 + r with |r| <= ln(2)/2; n an integer vector."""
    b, magic = vec.builder, vec.const(_ROUND_F32 if vec.is_f32 else _ROUND_F64)
    shifted = vec.fma(x, vec.const(_LOG2_E), magic)
    n = b.sub(b.bitcast(shifted, vec.int_type), b.bitcast(magic, vec.int_type))
    whole = b.fsub(shifted, magic)
    ln2 = _LN2_F32 if vec.is_f32 else _LN2_F64
    r = vec.fma(whole, vec.const(-ln2[0]), x)
    r = vec.fma(whole, vec.const(-ln2[1]), r)
    p = _polynomial(vec, _EXP_F32 if vec.is_f32 else _EXP_F64, r)
    return vec.fma(b.fmul(r, r), p, r), n


def exp(vec: Vectors, x):
    b = vec.builder
    low, high = _EXP_RANGE_F32 if vec.is_f32 else _EXP_RANGE_F64
    low, high = vec.const(low), vec.const(high)
    x = b.select(b.fcmp_ordered("<", x, low), low, x)  # NaN compares false: it stays
    x = b.select(b.fcmp_ordered(">", x, high), high, x)
    p, n = _exp_reduced(vec, x)
    p = b.fadd(p, vec.const(1.0))
    half = b.ashr(n, vec.int_const(1))  # two steps, so that subnormal results are rounded once
    p = b.fmul(p, _power_of_two(vec, half))
    return b.fmul(p, _power_of_two(vec, b.sub(n, half)))


def expm1_negative(vec: Vectors, x):
    """exp(x) - 1 for x <= 0; NaN goes through.

    With x = n ln 2 + r and exp(r) = 1 + p it is 2^n p + (2^n - 1), of which the second is exact as
    long as it matters.
    """
    b = vec.builder
    low = vec.const(-60.0)  # from here on it is -1
    x = b.select(b.fcmp_ordered("<", x, low), low, x)
    p, n = _exp_reduced(vec, x)
    power = _power_of_two(vec, n)
    return vec.fma(p, power, b.fsub(power, vec.const(1.0)))


def tanh(vec: Vectors, x):
    """x + x^3 P(x^2) below 0.55, from there on 1 - 2 e / (1 + e) with e = exp(-2|x|).

    Of the second the subtrahend is at most 1/2, so its error counts half.
    """
    b, one, size = vec.builder, vec.const(1.0), absolute(vec, x)
    z = b.fmul(size, size)
    series = _polynomial(vec, _TANH_F32 if vec.is_f32 else _TANH_F64, z)
    near = vec.fma(b.fmul(size, z), series, size)
    e = exp(vec, b.fmul(vec.const(-2.0), size))
    far = b.fsub(one, b.fdiv(b.fadd(e, e), b.fadd(one, e)))
    value = b.select(b.fcmp_ordered("<", size, vec.const(0.55)), near, far)
    sign = b.and_(b.bitcast(x, vec.int_type), vec.int_const(-(2**31) if vec.is_f32 else -(2**63)))
    return b.bitcast(b.or_(b.bitcast(value, vec.int_type), sign), vec.type)


def log(vec: Vectors, x):
    """log(x) for positive normal x; NaN and infinity go through."""
    b = vec.builder
    bits_sqrt_half, mantissa, bias, shift = (
        (0x3F3504F3, 0x007FFFFF, 127, 23)
        if vec.is_f32
        else (0x3FE6A09E667F3BCD, 0x000FFFFFFFFFFFFF, 1023, 52)
    )
    one = 0x3F800000 if vec.is_f32 else 0x3FF0000000000000
    # Shift the split so that the reduced argument lies in [sqrt(1/2), sqrt(2)).
    offset = b.add(b.bitcast(x, vec.int_type), vec.int_const(one - bits_sqrt_half))
    n = b.sub(b.lshr(offset, vec.int_const(shift)), vec.int_const(bias))
    m = b.add(b.and_(offset, vec.int_const(mantissa)), vec.int_const(bits_sqrt_half))
    f = b.fsub(b.bitcast(m, vec.type), vec.const(1.0))
    s = b.fdiv(f, b.fadd(f, vec.const(2.0)))
    z = b.fmul(s, s)
    # log(1+f) = 2 atanh(s) = 2s + s (2/3 z + 2/5 z^2 + ...), and 2s = f - s f
    terms = [2.0 / (2 * k + 3) for k in range(5 if vec.is_f32 else 11)]
    tail = b.fmul(z, _polynomial(vec, terms, z))
    ln2 = _LN2_F32 if vec.is_f32 else _LN2_F64
    whole = b.sitofp(n, vec.type)
    small = vec.fma(whole, vec.const(ln2[1]), b.fmul(s, b.fsub(tail, f)))
    value = vec.fma(whole, vec.const(ln2[0]), b.fadd(f, small))
    finite = b.fcmp_ordered("<", x, vec.const(float("inf")))
    return b.select(finite, value, x)


def log1p(vec: Vectors, x):
    """log(1 + x) for x >= 0: the rounding error of 1 + x is put back."""
    b = vec.builder
    u = b.fadd(x, vec.const(1.0))
    lost = b.fdiv(b.fsub(x, b.fsub(u, vec.const(1.0))), u)
    return b.fadd(log(vec, u), lost)


def absolute(vec: Vectors, x):
    mask = 0x7FFFFFFF if vec.is_f32 else 0x7FFFFFFFFFFFFFFF
    bits = vec.builder.and_(vec.builder.bitcast(x, vec.int_type), vec.int_const(mask))
    return vec.builder.bitcast(bits, vec.type)


def sigmoid(vec: Vectors, x):
    """1 / (1 + exp(-x)); no exponential is above 1, so nothing overflows."""
    b, one = vec.builder, vec.const(1.0)
    e = exp(vec, b.fsub(vec.const(-0.0), absolute(vec, x)))
    return b.fdiv(b.select(vec.passes(x), one, e), b.fadd(one, e))


FUNCTIONS = {
    "exp": exp, "expm1_negative": expm1_negative, "log": log, "log1p": log1p, "tanh": tanh,
    "sigmoid": sigmoid, "absolute": absolute,
}  # fmt: skip
