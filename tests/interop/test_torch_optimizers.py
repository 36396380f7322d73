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


HARD = {
    "RMSprop": (lambda: fg.RMSprop(0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    "Adam": (lambda: fg.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "AdamW": (lambda: fg.AdamW(0.01), lambda p: torch.optim.AdamW(p, 0.01)),
    "Adam without memory": (lambda: fg.Adam(0.01, beta1=0.0, beta2=0.0),
                            lambda p: torch.optim.Adam(p, 0.01, betas=(0.0, 0.0))),
    "Adam of a short memory": (lambda: fg.Adam(0.01, beta1=0.4, beta2=0.5),
                               lambda p: torch.optim.Adam(p, 0.01, betas=(0.4, 0.5))),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype, huge", [("float64", 1.35e154), ("float32", 3e19)])
def test_gradients_of_all_sizes_step_for_step(name, dtype, huge):
    """Also whose squares overflow, after which PyTorch goes on; none whose squares vanish."""
    ours, theirs = HARD[name]
    rng = np.random.default_rng(4)
    theta = np.zeros(P, dtype)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    opt, peer = ours(), theirs([parameter])
    tolerance = 4 * np.finfo(dtype).eps
    for step in range(60):
        g = rng.choice([-1, 1], P) * 10.0 ** rng.uniform(-6, 6, P)
        g = (g * (huge if step % 20 == 7 else 1)).astype(dtype)
        if name == "Adam without memory":
            g = np.clip(g, -np.sqrt(np.finfo(dtype).max) / 2, np.sqrt(np.finfo(dtype).max) / 2)
        before = theta.copy()
        opt.step(theta, g)
        parameter.grad = torch.tensor(g)
        peer.step()
        assert np.isfinite(theta).all()
        np.testing.assert_allclose(
            theta, parameter.detach().numpy(), rtol=0,
            atol=tolerance * (step + 1) * max(0.1, np.abs(theta - before).max()),
        )  # fmt: skip
