"""What the tests share: data, layouts, twins in float64, other processes."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features

from fastgrad import losses, neuron
from fastgrad import reference as ref
from fastgrad._core import plan
from fastgrad._core import tuning as blocking
from fastgrad.kernels import micro_kernel, records, simd, tuning

tuning.FAST_PATH_AFTER = 0  # one call opens it for the next: most tests make two

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
DTYPES = [F32, F64]
LOSSES = list(losses.LOSSES)
ELEMENTWISE = [name for name, loss in losses.LOSSES.items() if not loss.labelled]
OF_VALUES = [name for name, loss in losses.LOSSES.items() if not loss.takes_logits]  # or of rates
EPS = {F32: 2.0**-23, F64: 2.0**-52}


def lanes(dtype):
    return simd.LANES_F32 if dtype == F32 else simd.LANES_F64


def edge_sizes(dtype):
    """Numbers of columns around every edge: vectors, one tile, two tiles and a bit."""
    vector, tile = lanes(dtype), micro_kernel.NV * lanes(dtype)
    around = [vector - 1, vector, vector + 1, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 3]
    return sorted({1, 2, 3, *around})


def dyadic(rng, shape, dtype, denominator=8, most=3):
    """Multiples of 1/denominator in [-most, most]: short sums of products are exact, and pre-
    activations of exactly 0 are frequent."""
    limit = most * denominator
    return (rng.integers(-limit, limit + 1, shape) / denominator).astype(dtype)


def draw_targets(rng, loss, n, k, dtype):
    row = losses.LOSSES[loss]
    if row.labelled:
        return rng.integers(0, k, n)
    most = {records.UNIT_TARGETS: 1, records.COUNT_TARGETS: 6}.get(row.target_kind)
    return rng.integers(0, most + 1, (n, k)).astype(dtype) if most else dyadic(rng, (n, k), dtype)


def draw_problem(rng, sizes, n, loss, dtype, weighted=False):
    """(theta, X, y, sample_weight); theta's entries are dyadic, within -1 and 1, or less where the
    loss takes the outputs' exponentials."""
    layers = []
    for d, k in pairwise(sizes):
        root = int(np.ceil(np.log2(2 * d) / 2))
        W, b = dyadic(rng, d * k, dtype, 2 ** (root + 1), 1), dyadic(rng, k, dtype, 8, 1)
        layers += [W * dtype.type(0.5**root if losses.LOSSES[loss].link == "exp" else 1), b]
    theta = np.concatenate(layers)
    X = dyadic(rng, (n, sizes[0]), dtype, 4, 2)
    s = None
    if weighted:
        s = rng.integers(0, 5, n).astype(dtype)
        s[rng.integers(n)] = 2
    return theta, X, draw_targets(rng, loss, n, sizes[-1], dtype), s


def twin(theta, X, y, sizes, loss, **options):
    """`reference.mlp_loss_and_grad` in float64."""
    return ref.mlp_loss_and_grad(
        wide(theta), wide(X), y, sizes, loss,
        **{**options, "sample_weight": wide(options.get("sample_weight"))},
    )  # fmt: skip


def wide(array):
    return None if array is None else array.astype(np.float64)


def assert_close(actual, expected, dtype, units=64.0):
    """Within `units` roundings of the largest entry: long sums have errors of its size."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    size = max(np.abs(expected).max(initial=0.0), 1e-30)
    worst = np.abs(actual - expected).max(initial=0.0)
    assert worst <= units * EPS[np.dtype(dtype)] * size, f"off by {worst:.3g} of {size:.3g}"


def assert_same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# layouts: the same values in other memory


def _c(a):
    return a.copy()


def _fortran(a):
    return np.asfortranarray(a)


def _strided(a):
    big = np.full(tuple(2 * s for s in a.shape), 7, a.dtype)
    view = big[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _negative(a):
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    return a[flip].copy()[flip]


def _readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _readonly_fortran(a):
    a = np.asfortranarray(a)
    a.flags.writeable = False
    return a


def _unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _byteswapped(a):
    return a.astype(a.dtype.newbyteorder())


LAYOUTS = {
    "C": _c,
    "Fortran": _fortran,
    "strided": _strided,
    "negative": _negative,
    "readonly": _readonly,
    "readonly_fortran": _readonly_fortran,
    "unaligned": _unaligned,
    "byteswapped": _byteswapped,
}


def snapshot(*arrays):
    """The memory of arrays and of what they are views of, to be compared later."""
    return [
        a.tobytes() + (a.base.tobytes() if isinstance(a.base, np.ndarray) else b"") for a in arrays
    ]


# plans: every way a step can be cut into tasks

NARROW = {"wide": 10**9, "WIDE_RATIO": 10**9}  # lower case: of what the model chooses
CUTS = {
    "one task": {"PARALLEL_FLOPS": 10**18},
    "many tasks": {"PARALLEL_FLOPS": 0, "TASK_ROWS": 8, **NARROW},
    "flushed": {"PARALLEL_FLOPS": 0, "FLOAT64_ROWS": 48, "MAX_TASKS": 2, **NARROW},
    "wide": {"PARALLEL_FLOPS": 0, "wide": 1},
    "wide, stored in parts": {"PARALLEL_FLOPS": 0, "wide": 1, "CHUNK_ROWS": 120},
    "small blocks": {"PARALLEL_FLOPS": 10**18, "rows": 1},
}


def forget_plans():
    for maker in (plan.network_plan, plan.layer_plan, plan.neuron_plan):
        maker.cache_clear()
    for path in neuron._paths.values():
        path.plans.clear()


def set_tuning(set_attribute, **numbers):
    """Change tuning numbers by `set_attribute(module, name, value)`."""
    chosen = {name: value for name, value in numbers.items() if name.islower()}
    for name in numbers.keys() - chosen:
        set_attribute(tuning, name, numbers[name])
    set_attribute(blocking, "_chosen", blocking.tuned()._replace(**chosen))


def cut_plans(cut, set_attribute=setattr):
    """Cut small steps, and small neurons, as large ones are; for the rest of this process unless
    `set_attribute` takes it back."""
    awake = {"ASLEEP_FLOPS": 0}  # threads pay, however they wait
    neuron = {"NEURON_PARALLEL_BYTES": 0, "NEURON_BLOCK_ROWS": 16}
    set_tuning(set_attribute, **CUTS[cut], **neuron, **awake)
    forget_plans()


# other processes

# Haswell's features by name: the AVX2 path on a machine with AVX-512.
AVX2 = (
    "64bit avx avx2 bmi bmi2 cmov crc32 cx16 cx8 f16c fma fsgsbase fxsr invpcid lzcnt mmx movbe "
    "pclmul popcnt rdrnd sahf sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave xsaveopt"
).split()


def simd_path(path):
    """The environment in which kernels take a SIMD path: "native", "avx2" or "plain"."""
    if path == "native":
        return {}
    if path == "plain":
        return {"NUMBA_CPU_NAME": "generic"}
    if not all(get_host_cpu_features().get(feature) for feature in ("avx2", "fma")):
        pytest.skip("this processor has no AVX2")
    features = ",".join(f"+{feature}" for feature in AVX2)
    return {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}


LAYERS = {"omp": "omppool", "workqueue": "workqueue", "tbb": "tbbpool"}


@cache
def _why_not(layer, libraries):
    probe = subprocess.run(
        [sys.executable, "-c", f"import numba.np.ufunc.{LAYERS[layer]}"],
        env={**os.environ, **dict(libraries)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return probe.stderr.strip().splitlines()[-1] if probe.returncode else None


def threading_layer(layer):
    """The environment of a threading layer; skips a test where the layer cannot be loaded."""
    libraries = {}
    if layer == "tbb":  # in a virtual environment pip puts it where the loader does not look
        folders = [os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        libraries["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    why_not = _why_not(layer, tuple(libraries.items()))
    if why_not:
        pytest.skip(f"the threading layer {layer} cannot be loaded: {why_not}")
    return {"NUMBA_THREADING_LAYER": layer, **libraries}


SLOWER = float(os.environ.get("FASTGRAD_TEST_SLOWER", 1))  # than a usual machine: of time limits


def run_python(code, *args, timeout=170, **environment):
    """Run `code` in a fresh interpreter; its standard output. Any crash or warning is a failure."""
    env = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    here = os.path.dirname(os.path.abspath(__file__))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [here, env.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        env=env, cwd=here, capture_output=True, text=True, timeout=SLOWER * timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


_started: dict = {}


def run_for_each(code, values, value, **environment):
    """`run_python` of `code` for one of some values; the first to ask starts it for all of them,
    two at a time."""
    key = code, tuple(values)
    if key not in _started:
        with_two = ThreadPoolExecutor(2)
        _started[key] = {v: with_two.submit(run_python, code, v, **environment) for v in values}
        with_two.shutdown(wait=False)
    return _started[key][value].result()
