"""Rounding errors of networks on hard data, beside PyTorch's."""

import pytest

torch = pytest.importorskip("torch")

from helpers import DTYPES, LOSSES  # noqa: E402
from test_accuracy import CASES, check_beside  # noqa: E402
from torch.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def by_torch(net, theta, X, y):
    theta = torch.tensor(theta, requires_grad=True)
    X, y = torch.tensor(X), torch.tensor(y)
    layers = [(W.T, b) for W, b in net.unflatten(theta.detach().numpy())]
    start, A = 0, X
    for i, (W, b) in enumerate(layers):
        k, d = W.shape
        W = theta[start : start + d * k].view(d, k)
        b = theta[start + d * k : start + (d + 1) * k]
        start += (d + 1) * k
        A = torch.addmm(b, A, W)
        A = torch.relu(A) if i < len(layers) - 1 else A
    loss = {
        "mse": lambda: F.mse_loss(A, y),
        "huber": lambda: F.huber_loss(A, y),
        "logistic": lambda: F.binary_cross_entropy_with_logits(A, y) * A.shape[1],
        "cross_entropy": lambda: F.cross_entropy(A, y),
        "absolute_error": lambda: F.l1_loss(A, y),
        "quantile": lambda: F.l1_loss(A, y) / 2,
        "poisson": lambda: F.poisson_nll_loss(A, y) * A.shape[1],
    }[net.loss_name]()
    loss.backward()
    return loss.item(), theta.grad.numpy()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_networks_are_no_worse_than_pytorch(case, loss, dtype):
    check_beside(by_torch, case, loss, dtype, least=8)
