"""Optimisers against PyTorch's, step for step; runs where PyTorch is installed."""

import numpy as np
import pytest

import fastgrad as fg

torch = pytest.importorskip("torch")

P, STEPS = 37, 100
PAIRS = {
    "SGD": (lambda d: fg.SGD(0.05, weight_decay=d),
            lambda p, d: torch.optim.SGD(p, 0.05, weight_decay=d)),
    "Momentum": (lambda d: fg.Momentum(0.01, weight_decay=d),
                 lambda p, d: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=d)),
    "Nesterov": (lambda d: fg.Nesterov(0.01, weight_decay=d),
                 lambda p, d: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True,
                                              weight_decay=d)),
    "RMSprop": (lambda d: fg.RMSprop(0.003, weight_decay=d),
                lambda p, d: torch.optim.RMSprop(p, 0.003, weight_decay=d)),
    "Adam": (lambda d: fg.Adam(0.01, weight_decay=d),
             lambda p, d: torch.optim.Adam(p, 0.01, weight_decay=d)),
    "AdamW": (lambda d: fg.AdamW(0.01, weight_decay=d),
              lambda p, d: torch.optim.AdamW(p, 0.01, weight_decay=d)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [None, 3.0])
def test_step_for_step(name, dtype, tolerance, decay, clip):
    ours, theirs = PAIRS[name]
    rng = np.random.default_rng(3)
    theta = rng.standard_normal(P).astype(dtype)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    opt, peer = ours(decay), theirs([parameter], decay)
    opt.clip_norm = clip
    for _ in range(STEPS):
        g = rng.standard_normal(P).astype(dtype)
        opt.step(theta, g)
        parameter.grad = torch.tensor(g)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([parameter], clip)
        peer.step()
        np.testing.assert_allclose(
            theta, parameter.detach().numpy(), rtol=tolerance, atol=tolerance
        )
