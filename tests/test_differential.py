"""Random calls of the numerical API through both doors, against `oracle.py`.

A call draws a function, its shapes, a kind of values for each array (ordinary, subnormal, tiny,
huge, of mixed scales, zeros of both signs, now and then a NaN or an infinity) and where each array
lies (byte order, alignment, strides, writability). Then
- Python gives the same bits twice (the second call may take the fast path), for plain arrays, and
  on one and two threads, and they are within the oracle's bound; or every call is an error;
- compiled code gives these bits, or an error too; of byte-swapped arrays, an error;
- `out` that overlaps an input is an error in both, but for relu of exactly its own array;
- inputs, and all memory about them, stay as they were, and results are fresh.

Call i of a seed is drawn from (seed, i) alone. ``FASTGRAD_FUZZ=seed pytest -m stress
tests/test_differential.py`` makes 100,000 calls; ``FASTGRAD_FUZZ=seed:i`` repeats one.
"""

import os

import numba
import numpy as np
import pytest
from bounds import violations
from drawn_calls import KINDS, Call
from draws import lying, overlapping
from helpers import DTYPES, snapshot
from numba.core.errors import NumbaError

from fastgrad._core.threads import max_threads

QUICK, STRESS, SEED = 1_200, 100_000, 14
ERRORS = (TypeError, ValueError, NumbaError)
TWO_THREADS_FLOPS = 300_000


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def arrays_of(*args):
    return [a for given in args for a in (given.values() if isinstance(given, dict) else [given])]


def made(function, *args, **options):
    """The results of a call as arrays, or None where it is refused; inputs stay as they were."""
    before = snapshot(*arrays_of(*args))
    try:
        return [np.asarray(part) for part in parts(function(*args, **options))]
    except ERRORS:
        return None
    finally:
        assert snapshot(*arrays_of(*args)) == before, "an input has changed"


def assert_same(got, wanted, what):
    """The same bits, of NaNs the places; or errors both."""
    assert (got is None) == (wanted is None), f"{what}: one is an error, the other none"
    for a, b in zip(got or [], wanted or []):
        assert a.shape == b.shape and a.dtype == b.dtype, f"{what}: {a.dtype}{a.shape}"
        equal = (a == b) & (np.signbit(a) == np.signbit(b)) if a.dtype != bool else a == b
        equal |= (a != a) & (b != b)
        assert equal.all(), f"{what}: {a[~equal][:3]} for {b[~equal][:3]}"


def check_python(rng, call: Call):
    """The results, the same however arrays lie, on any threads, by the fast path and without."""
    layout, writable = ("C", True) if rng.random() < 0.5 else (None, None)  # for the fast path
    given = {name: lying(rng, a, layout, None, None, writable) for name, a in call.arrays.items()}
    ways = [("plain", call.arrays, {}), ("lying elsewhere", given, {})] * 2
    if call.threads:
        ways += [("one thread", given, {"threads": 1})]
    if call.threads and call.flops > TWO_THREADS_FLOPS and max_threads() > 1:
        ways += [("two threads", call.arrays, {"threads": 2})]
    results, first = [], ""
    for i in rng.permutation(len(ways)):
        what, arrays, options = ways[i]
        got = made(call.python, arrays, **options)
        first = first or what
        if results:
            assert_same(got, results[0], f"{what} after {first}")
        for a in got or []:
            known = [*arrays.values(), *(b for result in results for b in result or [])]
            assert not any(np.may_share_memory(a, b) for b in known), "a result is not fresh"
        results.append(got)
    assert (results[0] is None) == call.refused, "not refused" if call.refused else "refused"
    return results[0]


def room(call):
    """Arrays to write to; theta, of an optimiser."""
    out = [np.full(shape, 3, dtype) for shape, dtype in call.outs]
    if call.start is not None:
        out[0][...] = call.start
    return out


def into(call, arrays, out):
    """What a user's compiled code returns, that has fastgrad write to `out`."""
    return call.compiled(*arrays.values(), *call.extra, tuple(out) if len(out) > 1 else out[0])


def check_compiled(rng, call, wanted):
    """Compiled code has the same bits, and never takes one byte order for the other: least of all
    once it was compiled for arrays that are not aligned, for which Numba takes byte-swapped ones.
    """

    def compiled(arrays):
        return into(call, arrays, room(call))

    assert_same(made(compiled, call.arrays), wanted, "compiled")
    if not call.swappable or rng.random() < 0.5:
        return
    if any(a.dtype == np.float64 for a in call.arrays.values()):
        return  # test_njit.py makes these calls; each is a compilation
    unaligned, swapped = (
        {name: lying(rng, a, "C", not native, native, True) for name, a in call.arrays.items()}
        for native in (True, False)
    )
    got = made(compiled, unaligned)
    if got is not None:
        assert_same(got, wanted, "compiled, not aligned")
    assert made(compiled, swapped) is None, "compiled code took byte-swapped arrays"


def check_overlap(rng, call, wanted):
    """`out` that shares memory with an input is an error through both doors, and nothing has been
    written then; ReLU alone may be taken in place."""
    arrays, out = dict(call.arrays), room(call)
    name = str(rng.choice(list(arrays))) if call.start is None else next(iter(arrays))
    which = int(rng.integers(len(out)))
    arrays[name], out[which] = overlapping(rng, arrays[name], *call.outs[which])
    if call.name == "relu" and arrays[name].ctypes.data == out[which].ctypes.data:
        out[which] = arrays[name]
        assert_same([into(call, arrays, out)[0].copy()], wanted, "compiled, in place")
        out[which][...] = call.arrays[name]
        assert_same([call.python(arrays, out)], wanted, "in place")
        return
    before = snapshot(*arrays.values())
    for door in ("Python", "compiled") if call.writes else ("compiled",):
        try:
            call.python(arrays, tuple(out)) if door == "Python" else into(call, arrays, out)
        except ERRORS:
            assert snapshot(*arrays.values()) == before, f"{door}: refused, but an input changed"
        else:
            raise AssertionError(f"{door}: taken, though out[{which}] overlaps {name}")


def check_oracle(call, results):
    """Every result within its bound; a mask that is True or False where the oracle has 1 or 0."""
    with np.errstate(all="ignore"):
        for i, (got, bounded) in enumerate(zip(results, call.expected())):
            if i >= call.checked:
                continue
            got = got.reshape(np.shape(bounded.value))
            got = got.astype(float) if got.dtype == bool else got
            wrong = violations(got, bounded)
            if wrong.any():
                at = tuple(np.argwhere(wrong)[0])
                off, most = abs(got[at] - bounded.value[at]), bounded.error[at]
                raise AssertionError(
                    f"result {i}: {wrong.sum()} of {wrong.size} wrong; at {at} {got[at]!r} for "
                    f"{bounded.value[at]!r}, off by {off:.3g}, bound {most:.3g}"
                )


def check_call(seed, number):
    """Draw call `number` of a seed, and make it."""
    rng = np.random.default_rng((seed, number))
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    call = kind(rng, DTYPES[rng.integers(2)])
    try:
        wanted = check_python(rng, call)
        if call.compiled:
            check_compiled(rng, call, wanted)
            if rng.random() < 0.1 and not call.refused:
                check_overlap(rng, call, wanted)
        if wanted is not None:
            check_oracle(call, wanted)
    except AssertionError as error:
        shapes = {name: f"{a.dtype}{a.shape}" for name, a in call.arrays.items()}
        raise AssertionError(
            f"{call.name} of {shapes}: {error}\nrepeat: FASTGRAD_FUZZ={seed}:{number} "
            f"pytest -m stress {os.path.basename(__file__)}"
        ) from error


@pytest.fixture(scope="module", autouse=True)
def unaligned_arrays_were_seen():
    """Numba keeps the type of an array by what it looks at first, which is neither byte order nor
    alignment: after an unaligned array it takes a byte-swapped one for unaligned."""

    @numba.njit
    def see(a):
        pass

    for dtype in DTYPES:
        for shape in [(2,), (2, 2)]:
            for writable in (True, False):
                see(lying(None, np.ones(shape, dtype), "C", False, True, writable))


def test_calls_have_the_oracles_results_through_both_doors():
    for number in range(QUICK):
        check_call(SEED, number)


@pytest.mark.stress
def test_a_hundred_thousand_calls_have_the_oracles_results():
    seed, _, only = os.environ.get("FASTGRAD_FUZZ", str(SEED + 1)).partition(":")
    for number in [int(only)] if only else range(STRESS):
        check_call(int(seed), number)
