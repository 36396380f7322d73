"""Random shapes, values of many kinds, and where arrays lie in memory."""

import numpy as np
from helpers import F32

LAYOUTS = ["C", "C", "Fortran", "strided", "negative"]
WEIGHT_RANGE = {F32: (1e-30, 1e30)}


def draw(rng, shape, dtype, kind=None, scale=1.0):
    """An array of one kind of values, of both signs, perhaps with zeros among them.

    "tiny" and "huge" are of any scale that the dtype has, or near the root of its least and largest
    number; "constant" is one number, so that a long sum rounds the same way every time.
    """
    info = np.finfo(dtype)
    kind = kind or rng.choice(
        ["ordinary", "dyadic", "subnormal", "tiny", "huge", "mixed", "constant", "zeros"],
        p=[0.46, 0.14, 0.06, 0.06, 0.06, 0.12, 0.05, 0.05],
    )
    values = rng.standard_normal(shape)
    most = np.log10(float(info.max)) - 1
    power = rng.uniform(0, most) if rng.random() < 0.5 else most / 2 + rng.uniform(-1, 2)
    if kind == "ordinary":
        values *= scale
    elif kind == "dyadic":
        values = np.round(2 * values) / 2
    elif kind == "subnormal":
        values *= float(info.tiny) * rng.choice([0.01, 1])
    elif kind == "tiny":
        values *= 10**-power
    elif kind == "huge":
        values *= 10**power
    elif kind == "mixed":
        values *= scale * 10 ** (rng.uniform(-6, 6, shape) * rng.choice([1, 1, 2.5]))
    else:
        values = np.full(shape, rng.uniform(0, scale) if kind == "constant" else 0.0)
    if rng.random() < 0.3:
        values[rng.random(shape) < 0.2] = 0
    if kind != "constant":
        values = np.where(rng.random(shape) < 0.5, values, -values)
    return np.clip(values, -info.max / 8, info.max / 8).astype(dtype)


def draw_shape(rng):
    """(rows, inputs, outputs): small, tall, wide on one side, or square: worth two threads."""
    kind = rng.choice(5, p=[0.62, 0.16, 0.11, 0.08, 0.03])
    wide = int(10 ** rng.uniform(2, np.log10(3000)))
    if kind == 0:
        return [int(rng.integers(1, most)) for most in (25, 40, 40)]
    if kind == 1:
        return int(rng.integers(25, 301)), int(rng.integers(1, 20)), int(rng.integers(1, 12))
    if kind == 2:
        return int(rng.integers(1, 1 + min(300, 60_000 // wide))), int(rng.integers(1, 5)), wide
    if kind == 3:
        return int(rng.integers(1, 1 + min(300, 60_000 // wide))), wide, int(rng.integers(1, 4))
    return int(rng.integers(60, 301)), int(rng.integers(30, 100)), int(rng.integers(30, 60))


def draw_weights(rng, n, dtype):
    """(sample weights or None, whether their sum is refused)."""
    if rng.random() < 0.5:
        return None, False
    least, most = WEIGHT_RANGE.get(dtype, (1e-290, 1e290))
    s = rng.choice([0.0, 1.0, 2.0, 0.5, 3.0], n) if rng.random() < 0.7 else rng.random(n)
    s = s.astype(dtype) * dtype.type(10.0 ** rng.choice([0, 0, 0, -9, 9]))
    if rng.random() < 0.15:
        factor = rng.choice([least * 1e-9, least * 1e-3, most * 1e2, 0.0])
        s = (s / max(s.max(), 1e-9) * factor).astype(dtype)
    total = s.astype(np.longdouble).sum()
    return s, not least <= total <= most


def spoil_idle_targets(rng, y, s, labels=False):
    """Half of the time, make targets of weight 0 what would show if they counted."""
    if y.dtype.kind == "f" and rng.random() < 0.5:
        y[s == 0] = np.nan if labels else rng.choice([np.nan, np.inf, np.finfo(y.dtype).max / 8])


def plant(rng, arrays, dtype, first=None, labels=False):
    """Put a NaN or an infinity at one place of one array, in its `first` numbers; none but a NaN
    is also a label."""
    names = [name for name, a in arrays.items() if a.dtype == dtype and name != "sample_weight"]
    array = arrays[rng.choice(names)]
    value = np.nan if labels and array is arrays["y"] else rng.choice([np.nan, np.inf, -np.inf])
    array.flat[rng.integers(array.size if first is None else min(array.size, first))] = value


def lying(rng, a, layout=None, aligned=None, native=None, writable=None):
    """The same values in other memory."""
    layout = layout or rng.choice(LAYOUTS)
    aligned = rng.random() < 0.7 if aligned is None else aligned
    native = rng.random() < 0.7 if native is None else native
    writable = rng.random() < 0.7 if writable is None else writable
    every = 2 if layout == "strided" else 1
    shape, dtype = tuple(every * s for s in a.shape), a.dtype
    dtype = dtype if native else dtype.newbyteorder()
    offset = 0 if aligned else 1
    raw = np.full(int(np.prod(shape)) * dtype.itemsize + 16, 7, np.uint8)
    memory = raw[offset : raw.size - 16 + offset].view(dtype)
    memory = memory.reshape(shape, order="F" if layout == "Fortran" else "C")
    view = memory[tuple(slice(None, None, -1 if layout == "negative" else every) for _ in shape)]
    view[...] = a
    view.flags.writeable = writable
    return view


def overlapping(rng, a, shape, dtype):
    """(a, an array to write to) that have some of their bytes in common."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(a.nbytes + size + 16, np.uint8)
    unit = max(a.itemsize, dtype.itemsize)
    at = int(rng.integers(1 - max(size // unit, 1), -(-a.nbytes // unit))) * unit
    first, second = max(0, -at), max(0, at)
    inside = raw[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    inside[...] = a
    return inside, raw[second : second + size].view(dtype).reshape(shape)
