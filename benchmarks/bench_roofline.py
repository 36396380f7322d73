"""How near to the machine's limit, and how far ahead of NumPy."""

import numba

from .forks import with_all_threads_alone
from .peers import compare
from .prepared import step_of
from .roofline import measure
from .worker import Worker, turn
from .workloads import BY_NAME

NAMES = (
    "one neuron 2,000,000 x 32",
    "one neuron 100,000 x 1,000, float64",
    "skinny layer 400,000 x 24 -> 6",
    "4-32-16-4, 10,000 rows",
    "784-100-100-10, 200 rows",
    "square layer 6,000 x 300 -> 200",
    "480-1024-1024-512-256-1, 1,024 rows",
)


class Roofline:
    params = NAMES
    param_names = ("work",)
    unit = "fraction"

    def setup_cache(self):
        return measure(numba.config.NUMBA_NUM_THREADS)

    def track_roofline_fraction(self, roofline, name):
        """The limit's seconds by the measured ones: 1 is all that the machine can do."""
        step = step_of(name)
        seconds = min(turn(step, 0.05)[0] for _ in range(7))
        return roofline.limit(BY_NAME[name]) / seconds


class Machine:
    """What the fractions are fractions of."""

    params = ("float32 peak", "float64 peak", "L2 read", "L3 read", "memory read")
    param_names = ("limit",)
    unit = "1e9 a second"
    setup_cache = Roofline.setup_cache  # asv runs one function once

    def track_limit(self, roofline, limit):
        name, kind = limit.split()
        return (roofline.peak if kind == "peak" else roofline.bandwidth)[name] / 1e9


class Peer:
    params = (  # of small data, which two more processes make anew
        "one neuron 256 x 16",
        "24-8-2, 200 rows, float64",
        "64-128-10, 128 rows",
        "784-100-100-10, 200 rows",
        "square layer 6,000 x 300 -> 200",
    )
    param_names = ("work",)
    unit = "times"
    timeout = 180

    def setup(self, name):
        with_all_threads_alone()

    def track_ratio_to_numpy(self, name):
        """NumPy's time by fastgrad's, a process each, interleaved: the median of paired ratios."""
        threads = numba.config.NUMBA_NUM_THREADS
        with Worker("fastgrad", threads) as ours, Worker("numpy", threads) as numpy:
            row = compare(BY_NAME[name], [ours, numpy], rounds=5)
        if row.faults:
            raise RuntimeError(str(row.faults))
        return row.ratio
