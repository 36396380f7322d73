"""What a fresh process pays: import, and its first gradient with and without compiled kernels."""

import os
import subprocess
import sys
import tempfile
from statistics import median
from time import perf_counter

from .forks import with_all_threads_alone

GRADIENT = """
import fastgrad as fg, numpy as np
net = fg.MLP([8, 16, 3], loss="cross_entropy", dtype=np.float32)
net.loss_and_grad(net.init(seed=0), np.ones((4, 8), np.float32), np.zeros(4, np.int64))
"""


def process_seconds(code, cache=None):
    """Seconds of a whole process that runs `code`."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return perf_counter() - start


class FirstCall:
    timeout = 180

    def setup(self):
        with_all_threads_alone()

    def timeraw_import_numba(self):
        return "import numba"

    def timeraw_import_fastgrad(self):
        return "import fastgrad"

    def track_import_beyond_numba(self):
        """Seconds of `import fastgrad` beyond `import numba`: interleaved, median of 5."""
        process_seconds("import fastgrad")
        pairs = [
            process_seconds("import fastgrad") - process_seconds("import numba") for _ in range(5)
        ]
        return median(pairs)

    track_import_beyond_numba.unit = "seconds"

    def track_first_gradient_warm(self):
        """Seconds of a process that computes one gradient, kernels cached by an earlier one."""
        with tempfile.TemporaryDirectory() as cache:
            process_seconds(GRADIENT, cache)
            return median(process_seconds(GRADIENT, cache) for _ in range(3))

    track_first_gradient_warm.unit = "seconds"

    def track_first_gradient_cold(self):
        """Seconds of a process that compiles its kernels first."""
        with tempfile.TemporaryDirectory() as cache:
            return process_seconds(GRADIENT, cache)

    track_first_gradient_cold.unit = "seconds"
