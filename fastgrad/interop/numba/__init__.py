"""fastgrad inside the user's own `@njit` code, by the same names.

`affine`, `relu`, `relu_mask`, `affine_relu`, `affine_relu_backward` and `neuron_loss_and_grad` can
be called from compiled code once this package is imported, which `import fastgrad` does; `threads`
is taken and makes no difference. A network and an optimiser are prepared in Python (`network`,
`optimizer`) and passed in: ``net.loss_and_grad(theta, X, y, out=grad)``,
``net.predict(theta, X, out=out)`` and ``opt.step(theta, grad)`` are then compiled calls, and so are
`vjp`, `grad_norms` and `hvp` of a network that was prepared with ``derivatives=True``.

All of it is serial, has the same bits as the Python calls, allocates nothing where `out` is given,
may run in any number of threads (in a `prange` of your own, under every threading layer), and is
cached across processes where the caller says ``cache=True``. Kernels are called by their address,
which costs 2 ns; the first call of a layer function in a process loads its kernel, or compiles it.
"""

from ..._core.names import list_public
from . import derivatives, guards, layers, neurons  # noqa: F401 - register what they hold
from .networks import Network, network
from .optimizers import Step, optimizer

__all__ = ["Network", "Step", "network", "optimizer"]
list_public(globals())
