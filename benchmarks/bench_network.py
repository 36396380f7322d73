"""Networks in shapes that others have published, and layers and linear models as networks.

24-8-2 and 4-32-16-4 are SimpleChains.jl's, 784-100-100-10 scikit-learn's bench_mnist,
480-1024-1024-512-256-1 NVIDIA Apex's, 10-45-45-10 beside 10-46-46-10 where PyTorch starts threads
(pytorch#144633); 8-64-64-3 with 16 rows is the size of reinforcement learning.
"""

from .prepared import Timed, calls_of, step_of
from .workloads import BY_NAME

NAMES = (
    "tiny layer 64 x 8 -> 4",
    "24-8-2, 200 rows, float64",
    "8-64-64-3, 16 rows",
    "4-32-16-4, 10,000 rows",
    "64-128-10, 128 rows",
    "10-45-45-10, 128 rows",
    "10-46-46-10, 128 rows",
    "784-100-100-10, 200 rows",
    "skinny layer 400,000 x 24 -> 6",
    "square layer 6,000 x 300 -> 200",
    "480-1024-1024-512-256-1, 1,024 rows",
)


class Network(Timed):
    params = NAMES
    param_names = ("work",)

    def setup(self, name):
        self.step = step_of(name)
        self.prepare(calls_of(BY_NAME[name]))

    def time_loss_and_grad(self, name):
        step = self.step
        for _ in self.loop:
            step()
