"""Opacus' and BackPACK's own kind of check: batches of 0 to 4 rows against a loop over single rows,
as sums and as means; curvlinops' network, 10-5-3 with ReLU; and these packages where they are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.func import grad, hessian, jacrev  # noqa: E402

import fastgrad as fg  # noqa: E402

SIZES = (10, 5, 3)
# PyTorch's own forward mode warns of what it is made with.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")


def problem(n, loss):
    rng, net = np.random.default_rng(n), fg.MLP(SIZES, loss)
    theta, X = rng.normal(size=net.n_parameters) * 0.5, rng.normal(size=(n, 10))
    y = rng.integers(0, 3, n) if loss == "cross_entropy" else rng.normal(size=(n, 3))
    return net, theta, X, y, rng.normal(size=theta.size), rng.normal(size=(n, 3))


def outputs(theta, x):
    W, b, V, c = theta[:50].reshape(10, 5), theta[50:55], theta[55:70].reshape(5, 3), theta[70:]
    return torch.relu(x @ W + b) @ V + c


def of_outputs(out, y, loss):
    if loss == "cross_entropy":
        return torch.logsumexp(out, 0) - out[y]
    return ((out - y) ** 2).mean()


def row_by_row(theta, X, y, loss):
    """What PyTorch makes of each row: (gradients, Hessians, Gauss and Newton's, Jacobians)."""
    found, theta = ([], [], [], []), torch.tensor(theta)
    for x, target in zip(torch.tensor(X), torch.tensor(y)):

        def own(theta, x=x, target=target):
            return of_outputs(outputs(theta, x), target, loss)

        J = jacrev(outputs)(theta, x)
        H = hessian(lambda out, target=target: of_outputs(out, target, loss))(outputs(theta, x))
        for values, value in zip(found, (grad(own)(theta), hessian(own)(theta), J.T @ H @ J, J)):
            values.append(value.numpy())
    return found


def assert_close(found, expected):
    np.testing.assert_allclose(found, np.reshape(expected, np.shape(found)), 1e-10, 1e-12)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("n", range(5))
def test_row30_to_row36_batches_are_loops_over_rows(n, loss):
    net, theta, X, y, v, c = problem(n, loss)
    grads, H, G, J = row_by_row(theta, X, y, loss)
    args = net, theta, X, y
    assert_close(fg.per_sample.grads(*args), grads)
    assert_close(fg.per_sample.grad_norms(*args), [np.linalg.norm(g) for g in grads])
    assert_close(fg.per_sample.gram(*args), [[a @ b for b in grads] for a in grads])
    assert_close(fg.jacobians.jacobian(net, theta, X), J)
    assert_close(fg.jacobians.jvp(net, theta, X, v), [j @ v for j in J])
    assert_close(fg.jacobians.vjp(net, theta, X, c), sum(r @ j for r, j in zip(c, J)) + 0 * v)
    if n == 0:
        for function in (fg.curvature.hvp, fg.curvature.ggn_vp):
            with pytest.raises(ValueError, match="X has"):
                function(*args, v)
        return
    for s in (None, np.arange(1.0, n + 1)):  # a mean; n or sum(s) times it is a sum
        share = np.full(n, 1 / n) if s is None else s / s.sum()
        for function, matrices in ((fg.curvature.hvp, H), (fg.curvature.ggn_vp, G)):
            assert_close(function(*args, v, s), sum(w * m @ v for w, m in zip(share, matrices)))
        whole = sum(w * m for w, m in zip(share, G))
        assert_close(fg.curvature.ggn(*args, s), whole)
        assert_close(fg.curvature.ggn_diagonal(*args, s), np.diag(whole))
        assert_close(fg.curvature.hessian(*args, s), sum(w * m for w, m in zip(share, H)))
        clip = [min(1, 0.5 / (1 if s is None else w) / np.linalg.norm(g)) for w, g in
                zip(np.ones(n) if s is None else s, grads)]  # fmt: skip
        clipped = fg.per_sample.clipped_loss_and_grad(*args, 0.5, s)[1]
        assert_close(clipped, sum(w * f * g for w, f, g in zip(share, clip, grads)))


def module_of(net, theta):
    """(module, a flat vector's parts in the shapes of its parameters, tensors made flat)."""
    layers = []
    for W, b in net.unflatten(theta):
        linear = torch.nn.Linear(*W.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]

    def split(v):
        parts = (part for W, b in net.unflatten(v) for part in (W.T, b))
        return [torch.from_numpy(part.copy()) for part in parts]

    def flat(tensors):
        return np.concatenate([t.detach().numpy().T.ravel() for t in tensors])

    return torch.nn.Sequential(*layers[:-1]), split, flat


@pytest.mark.parametrize("n", [1, 4, 40])
@pytest.mark.filterwarnings("ignore")
def test_row34_row35_products_are_curvlinops(n):
    curvlinops = pytest.importorskip("curvlinops")
    net, theta, X, y, v, _ = problem(n, "cross_entropy")
    module, split, flat = module_of(net, theta)
    data = [(torch.tensor(X), torch.tensor(y))]
    for kind, function in (
        (curvlinops.HessianLinearOperator, fg.curvature.hvp),
        (curvlinops.GGNLinearOperator, fg.curvature.ggn_vp),
    ):
        operator = kind(module, torch.nn.CrossEntropyLoss(), list(module.parameters()), data)
        assert_close(function(net, theta, X, y, v), flat(operator @ split(v)))


@pytest.mark.parametrize("n", [1, 4, 40])
@pytest.mark.filterwarnings("ignore")
def test_row31_row34_row35_row36_are_backpacks(n):
    backpack = pytest.importorskip("backpack")
    from backpack import extensions
    from backpack.hessianfree.ggnvp import ggn_vector_product
    from backpack.hessianfree.hvp import hessian_vector_product

    net, theta, X, y, v, _ = problem(n, "cross_entropy")
    module, split, flat = module_of(net, theta)
    own = backpack.extend(module)
    criterion = backpack.extend(torch.nn.CrossEntropyLoss())
    out = own(torch.tensor(X))
    loss = criterion(out, torch.tensor(y))
    with backpack.backpack(extensions.BatchGrad(), extensions.DiagGGNExact()):
        loss.backward(retain_graph=True)
    each = [p.grad_batch.numpy() for p in module.parameters()]  # each divided by n
    grads = np.array([np.concatenate([g[i].T.ravel() for g in each]) for i in range(n)]) * n
    assert_close(fg.per_sample.grads(net, theta, X, y), grads)
    diagonal = flat(p.diag_ggn_exact for p in module.parameters())
    assert_close(fg.curvature.ggn_diagonal(net, theta, X, y), diagonal)
    product = flat(ggn_vector_product(loss, out, module, split(v)))
    assert_close(fg.curvature.ggn_vp(net, theta, X, y, v), product)
    product = flat(hessian_vector_product(loss, list(module.parameters()), split(v)))
    assert_close(fg.curvature.hvp(net, theta, X, y, v), product)
