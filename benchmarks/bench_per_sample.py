"""Gradients of single samples: norms, clipped sums, gradients, Gram matrices.

784-1024-512-256-128-64-10 with 512 rows is curvlinops' benchmark, 104-50-2 with 256 fast-dpsgd's.
"""

from statistics import median

from .prepared import Timed, calls_of, own_calls
from .worker import turn
from .workloads import PER_SAMPLE

BY_NAME = {work.name: work for work in PER_SAMPLE}


class PerSample(Timed):
    params = tuple(BY_NAME)
    param_names = ("work",)

    def setup(self, name):
        self.calls = own_calls(name)
        self.prepare(calls_of(BY_NAME[name]))

    def _time(self, name):
        call = self.calls[name]
        for _ in self.loop:
            call()

    def time_grad_norms(self, name):
        self._time("grad_norms")

    def time_clipped_loss_and_grad(self, name):
        self._time("clipped_loss_and_grad")


FUNCTIONS = ("grad_norms", "clipped_loss_and_grad")


def multiples(name: str, rounds: int = 9) -> dict[str, float]:
    calls = own_calls(name)
    times = [
        {each: turn(calls[each], 0.01)[0] for each in ("loss_and_grad", *FUNCTIONS)}
        for _ in range(rounds)
    ]
    return {
        function: median(row[function] / row["loss_and_grad"] for row in times)
        for function in FUNCTIONS
    }


class Multiple:
    """Times of one's own `loss_and_grad`, medians of paired ratios; all measured in one process."""

    params = tuple(BY_NAME), FUNCTIONS
    param_names = ("work", "function")
    unit = "times"

    def setup_cache(self):
        return {name: multiples(name) for name in BY_NAME}

    def track_multiple_of_gradient(self, measured, name, function):
        return measured[name][function]


class Gram(Timed):
    """Of 1,000 rows, by gradients' inner products and by outputs'."""

    params = tuple(BY_NAME)[:2]
    param_names = ("work",)

    def setup(self, name):
        self.calls = own_calls(name)
        self.prepare(1)

    def time_gram(self, name):
        self.calls["gram"]()

    def time_ntk_trace(self, name):
        self.calls["ntk_trace"]()
