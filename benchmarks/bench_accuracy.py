"""Relative error to float64, so that speed cannot be bought with error."""

import numba

from . import contenders
from .forks import with_all_threads_alone
from .peers import relative_error
from .workloads import BY_NAME, Work, data

WORKS = {
    name: BY_NAME[name]
    for name in (
        "one neuron 256 x 16",
        "one neuron 2,000,000 x 32",
        "skinny layer 400,000 x 24 -> 6",
        "64-128-10, 128 rows",
        "784-100-100-10, 200 rows, float64",
    )
}
WORKS["one neuron 10,000,000 x 2"] = Work("", "neuron", 10_000_000, (2, 1))


class Accuracy:
    params = tuple(WORKS)
    param_names = ("work",)
    unit = "relative error"

    def setup(self, name):
        with_all_threads_alone()  # the bits are the same

    def track_relative_error(self, name):
        """The larger of the loss's and the gradient's (2-norm), to the closed form in float64."""
        work = WORKS[name]
        step, read = contenders.fastgrad(work, *data(work), numba.config.NUMBA_NUM_THREADS)
        return relative_error(read(step()), contenders.exact(work))
