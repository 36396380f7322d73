"""The PyTorch modules: gradcheck, the same numbers as nn.Sequential, optimisers, errors."""

import copy
import io
import multiprocessing
import os
import pickle
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import assert_same_bits, run_python  # noqa: E402
from torch import nn  # noqa: E402
from torch.autograd import gradcheck  # noqa: E402
from torch.utils.data import DataLoader, Dataset, TensorDataset  # noqa: E402

import fastgrad as fg  # noqa: E402
from fastgrad.interop.torch import (  # noqa: E402
    DenseReLU,
    FusedMLP,
    FusedSequential,
    affine_relu,
    from_torch,
)

F64 = torch.float64
LOSSES = {
    "mse": nn.MSELoss(),
    "huber": nn.HuberLoss(),
    "logistic": nn.BCEWithLogitsLoss(),
    "cross_entropy": nn.CrossEntropyLoss(),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def sequential(sizes, dtype=F64, last_relu=False):
    modules = []
    for d, k in pairwise(sizes):
        modules += [nn.Linear(d, k, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*(modules if last_relu else modules[:-1]))


def targets(loss, n, k, dtype=F64):
    return torch.randint(0, k, (n,)) if loss == "cross_entropy" else torch.rand(n, k, dtype=dtype)


def loss_of(name, out, y):
    """PyTorch's loss with fastgrad's normalisation: "logistic" is summed over outputs."""
    value = LOSSES[name](out, y)
    return value * out.shape[1] if name == "logistic" else value


def close(a, b, tol=1e-12):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


# gradcheck


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 3, 5)])
def test_gradcheck_of_affine_relu(shape, bias):
    x = torch.randn(*shape, dtype=F64, requires_grad=True)
    w = torch.randn(4, 5, dtype=F64, requires_grad=True)
    args = (x, w, torch.randn(4, dtype=F64, requires_grad=True)) if bias else (x, w)
    assert gradcheck(affine_relu, args)
    close(affine_relu(*args), torch.relu(nn.functional.linear(*args)))


@pytest.mark.parametrize("output_activation", ["identity", "relu"])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck_of_a_network(loss, output_activation):
    if output_activation == "relu" and loss in ("logistic", "cross_entropy"):
        return
    model = FusedMLP([5, 9, 6, 3], loss, output_activation=output_activation, l2=0.1, dtype=F64)
    x = torch.randn(7, 5, dtype=F64, requires_grad=True)
    theta = model.theta.detach().clone().requires_grad_()
    y = targets(loss, 7, 3)

    def outputs(theta, x):
        return torch.func.functional_call(model, {"theta": theta}, (x,))

    def value(theta, x):
        return torch.func.functional_call(model, {"theta": theta}, (x, y))

    assert gradcheck(outputs, (theta, x))
    assert gradcheck(outputs, (theta, x.detach()))
    assert gradcheck(outputs, (theta.detach(), x))
    assert gradcheck(value, (theta, x))
    assert gradcheck(value, (theta, x.detach()))
    assert gradcheck(value, (theta.detach(), x))


# the same numbers as PyTorch


def gradients(fused):
    """Of a network of one node, layer by layer in PyTorch's layout."""
    if not isinstance(fused, FusedMLP):
        return [p.grad for p in fused.parameters()]
    layers = fused.net.unflatten(fused.theta.grad.numpy())
    return [torch.from_numpy(part) for W, b in layers for part in (W.T, b)]


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("sizes, n", [([6, 4], 9), ([8, 64, 64, 3], 16), ([64, 128, 10], 300)])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradients_are_autograds(loss, sizes, n, flat):
    peer = sequential(sizes)
    fused = from_torch(peer, loss, flat=flat)
    x = torch.randn(n, sizes[0], dtype=F64, requires_grad=True)
    y = targets(loss, n, sizes[-1])
    expected = loss_of(loss, peer(x), y)
    expected.backward()
    dx, x.grad = x.grad, None
    included = fused(x, y)
    included.backward()
    for loss_included in (True, False):
        if not loss_included:
            fused.zero_grad()
            x.grad = None
            loss_of(loss, fused(x), y).backward()
        close(included, expected)
        for found, parameter in zip(gradients(fused), peer.parameters()):
            close(found, parameter.grad)
        close(x.grad, dx)


MODULES = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
    "leaky_relu": lambda: nn.LeakyReLU(0.01), "identity": nn.Identity, "none": None,
}  # fmt: skip


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("activation", MODULES)
def test_row28_every_activation_has_autograds_gradients(activation, flat):
    layers = [nn.Linear(5, 9), nn.Linear(9, 6), nn.Linear(6, 2)]
    for index in (2, 1):
        if MODULES[activation]:
            layers.insert(index, MODULES[activation]())
    peer = nn.Sequential(*layers).double()
    fused = from_torch(peer, flat=flat)
    assert fused.net.activation == ("identity" if activation == "none" else activation)
    x = torch.randn(40, 5, dtype=F64, requires_grad=True)
    y = targets("mse", 40, 2)
    loss_of("mse", peer(x), y).backward()
    dx, x.grad = x.grad, None
    for value in (lambda: fused(x, y), lambda: loss_of("mse", fused(x), y)):
        fused.zero_grad()
        x.grad = None
        value().backward()
        for found, parameter in zip(gradients(fused), peer.parameters()):
            close(found, parameter.grad)
        close(x.grad, dx)
    back = fused.to_torch()
    close(back(x), peer(x))
    assert from_torch(back).net == fused.net
    fused.float()
    assert fused.net.activation == from_torch(peer.float()).net.activation
    close(fused(x.float()), peer(x.float()), 1e-5)


@pytest.mark.parametrize("loss, settings", [
    ("absolute_error", {}), ("quantile", {"quantile": 0.2}), ("quantile", {"quantile": 0.9}),
    ("huber", {"huber_delta": 0.3}), ("poisson", {}),
], ids=str)  # fmt: skip
def test_row29_losses_and_their_parameters_are_autograds(loss, settings):
    module = FusedMLP([4, 7, 3], loss, activation="tanh", dtype=F64, **settings)
    peer, x = module.to_torch(), torch.randn(30, 4, dtype=F64)
    y = torch.poisson(torch.ones(30, 3, dtype=F64))
    e = peer(x) - y
    expected = {
        "absolute_error": lambda: e.abs().mean(),
        "quantile": lambda: torch.maximum((1 - module.net.quantile) * e,
                                          -module.net.quantile * e).mean(),
        "huber": lambda: nn.functional.huber_loss(peer(x), y, delta=0.3),
        "poisson": lambda: nn.functional.poisson_nll_loss(peer(x), y, reduction="sum") / 30,
    }[loss]()  # fmt: skip
    expected.backward()
    layered = from_torch(peer, loss, **settings)
    assert layered.net == module.net == from_torch(peer, loss, flat=True, **settings).net
    for fused in (module, layered):
        value = fused(x, y)
        value.backward()
        close(value, expected)
        for found, parameter in zip(gradients(fused), peer.parameters()):
            close(found, parameter.grad)
    copied = pickle.loads(pickle.dumps(layered)).double()
    assert copied.float().net.spec.parameters == module.net.spec.parameters


def test_parameters_and_targets_of_losses_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"quantile is 1\.5"):
        from_torch(sequential([4, 2]), "quantile", quantile=1.5)
    model = FusedMLP([4, 2], "poisson", dtype=F64)
    with pytest.raises(
        ValueError, match=r"y has the value -1\.0 at position 0; expected 0 or more"
    ):
        model(torch.zeros(3, 4, dtype=F64), -torch.ones(3, 2, dtype=F64))


@pytest.mark.parametrize("modules, words", [
    ([nn.Tanh(), nn.Linear(4, 4), nn.ReLU()],
     r"before module\[4\] is relu, before module\[2\] it is tanh; expected the same in all"),
    ([nn.Tanh(), nn.Linear(4, 4), nn.Identity()], r"module\[4\] is identity, before"),
    ([nn.LeakyReLU(0.2)], r"module\[1\] is LeakyReLU.*0\.2.*; expected a negative_slope of 0\.01"),
    ([nn.Softplus(2.0)], r"module\[1\] is Softplus.*; expected beta 1"),
    ([nn.Softplus(1.0, 2.0)], r"threshold of 20 or more"),
], ids=str)  # fmt: skip
def test_activations_that_do_not_fit_are_named(modules, words):
    with pytest.raises(ValueError, match=words):
        from_torch(nn.Sequential(nn.Linear(3, 4), *modules, nn.Linear(4, 2)))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("last_relu", [False, True])
def test_from_torch_and_back(last_relu, flat):
    peer = sequential([5, 7, 3], torch.float32, last_relu)
    fused = from_torch(peer, flat=flat)
    assert {p.dtype for p in fused.parameters()} == {torch.float32}
    back = fused.to_torch()
    x = torch.randn(11, 5)
    close(fused(x), peer(x), 1e-5)
    assert torch.equal(back(x), peer(x))
    assert [type(m) for m in back] == [type(m) for m in peer]
    mixed = nn.Sequential(DenseReLU(5, 7), nn.Linear(7, 2))
    close(from_torch(mixed, flat=flat)(x), mixed(x), 1e-5)


def test_dense_relu_is_linear_and_relu():
    layer = DenseReLU(5, 4, dtype=F64)
    peer = nn.Linear(5, 4, dtype=F64)
    peer.load_state_dict(layer.state_dict())
    x = torch.randn(6, 5, dtype=F64)
    for model in (layer, nn.Sequential(peer, nn.ReLU())):
        model(x).square().sum().backward()
    close(layer.weight.grad, peer.weight.grad)
    close(layer.bias.grad, peer.bias.grad)
    assert layer.weight.is_contiguous()
    assert layer.weight.grad.stride() == layer.weight.stride()
    transposed = torch.empty(5, 4, dtype=F64).t().copy_(layer.weight)
    assert torch.equal(affine_relu(x, transposed, layer.bias), layer(x))
    assert DenseReLU(5, 4, bias=False).bias is None
    assert "in_features=5" in repr(layer)
    assert (DenseReLU(1000, 50).weight.std() - (2 / 1000) ** 0.5).abs() < 1e-3


def test_no_copies_of_parameters_and_inputs():
    model = FusedMLP([5, 4, 2], dtype=F64)
    assert model.net.predict(model.theta.detach().numpy(), np.zeros((1, 5))).shape == (1, 2)
    (weight, _), _ = model.layers()
    weight.mul_(0)
    assert (model.theta[:20] == 0).all()


def test_nan_passes():
    a = affine_relu(torch.tensor([[float("nan"), 1.0]]), torch.ones(2, 2))
    assert a.isnan().all()


# training


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
@pytest.mark.parametrize("flat", [True, False])
def test_optimizers_follow_the_same_path(optimizer, flat):
    peer = sequential([4, 8, 3])
    fused = from_torch(peer, "cross_entropy", flat=flat)
    x, y = torch.randn(40, 4, dtype=F64), torch.randint(0, 3, (40,))
    for model, value in (
        (peer, lambda: nn.functional.cross_entropy(peer(x), y)),
        (fused, lambda: fused(x, y)),
    ):
        steps = optimizer(model.parameters(), lr=0.05)

        def closure(steps=steps, value=value):
            steps.zero_grad()
            loss = value()
            loss.backward()
            return loss

        for _ in range(1 if optimizer is torch.optim.LBFGS else 20):
            steps.step(closure)
    for (weight, bias), part in zip(fused.layers(), peer[::2]):
        close(weight, part.weight, 1e-8)
        close(bias, part.bias, 1e-8)


def test_sample_weight_and_no_grad():
    model = FusedMLP([4, 8, 3], "cross_entropy", dtype=F64)
    x, y = torch.randn(40, 4, dtype=F64), torch.randint(0, 3, (40,))
    s = torch.rand(40, dtype=F64)
    each = nn.functional.cross_entropy(model(x), y, reduction="none")
    close(model(x, y, s), (s * each).sum() / s.sum())
    with torch.no_grad():
        assert not model(x, y, s).requires_grad
        close(model(x, y, s), (s * each).sum() / s.sum())


def test_a_gradient_is_scaled_added_and_kept_apart():
    model = FusedMLP([4, 3], dtype=F64)
    x, y = torch.randn(9, 4, dtype=F64), torch.rand(9, 3, dtype=F64)
    loss = model(x, y)
    loss.backward(retain_graph=True)
    once = model.theta.grad.clone()
    loss.backward()
    close(model.theta.grad, 2 * once)
    model.theta.grad = None
    (3 * model(x, y) + model(x, y)).backward()
    close(model.theta.grad, 4 * once)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_without_a_graph_leaves_the_gradient_of_the_graph(weighted):
    model = FusedMLP([5, 7, 3], "cross_entropy", l2=0.01)
    x, y = torch.randn(40, 5), torch.randint(0, 3, (40,))
    s = torch.rand(40) if weighted else None
    expected = model(x, y, s)
    expected.backward()
    before, model.theta.grad = model.theta.grad, None
    for _ in range(2):  # overwritten, not added
        loss = model.step_loss(x, y, s)
        assert torch.equal(loss, expected.detach()) and not loss.requires_grad
        assert torch.equal(model.theta.grad, before)
    with pytest.raises(TypeError, match=r"x has dtype torch\.float64"):
        model.step_loss(x.double(), y)
    with pytest.raises(ValueError, match="y has"):
        model.step_loss(x, y[1:])


def test_functional_gradients_work():
    model = FusedMLP([4, 3], dtype=F64)
    x, y = torch.randn(9, 4, dtype=F64), torch.rand(9, 3, dtype=F64)
    model(x, y).backward()
    theta = model.theta.detach()
    scaled = torch.func.grad(lambda t: torch.func.functional_call(model, {"theta": t}, (x, y)))(
        theta
    )
    close(scaled, model.theta.grad)


def test_state_dict_pickle_and_dtype():
    model = FusedMLP([4, 8, 3], "huber", huber_delta=0.5, l2=0.1)
    x, y = torch.randn(9, 4), torch.rand(9, 3)
    other = FusedMLP([4, 8, 3], "huber", huber_delta=0.5, l2=0.1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, y), model(x, y))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x, y), model(x, y))
    wide = copy.deepcopy(model).double()
    assert wide(x.double(), y.double()).dtype == F64
    close(wide(x.double(), y.double()), model(x, y).double(), 1e-5)
    assert "loss='huber'" in repr(model)
    with torch.no_grad():
        model.reset_parameters()
    assert not torch.equal(model.theta, other.theta)


class Scored(TensorDataset):
    """A dataset whose worker processes use a network themselves."""

    model = None

    def __getitem__(self, index):
        (x,) = super().__getitem__(index)
        return self.model(x[None])[0].detach()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # JAX, if it is loaded
def test_data_loader_workers_may_use_it():
    model, x = FusedMLP([4, 8, 3]), torch.randn(32, 4)
    data = Scored(x)
    data.model = model
    loader = DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), model(x).detach())


class Gradients(Dataset):
    """Each item is a gradient whose work is worth several threads."""

    def __init__(self):
        self.net = fg.MLP([40, 33, 5])
        rng = np.random.default_rng(13)
        self.theta = self.net.init(0)
        self.X, self.y = rng.normal(size=(3000, 40)), rng.normal(size=(3000, 5))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.net.loss_and_grad(self.theta * (1 + index), self.X, self.y)[1]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX's, where a test imported it
def test_data_loader_workers_after_parallel_kernels(method):
    data = Gradients()
    expected = [data[i] for i in range(len(data))]
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=method)
    for got, wanted in zip(loader, expected):
        assert_same_bits(got.numpy(), wanted)


# errors


def test_wrong_tensors_are_named():
    model = FusedMLP([4, 3])
    x, y = torch.randn(9, 4), torch.rand(9, 3)
    with pytest.raises(TypeError, match=r"x has dtype torch.float64.*use x.to\(torch.float32\)"):
        model(x.double())
    with pytest.raises(TypeError, match="x is a ndarray; expected a tensor"):
        model(x.numpy())
    with pytest.raises(TypeError, match=r"x is on meta.* has no numbers"):
        model(x.to("meta"))
    with pytest.raises(TypeError, match="y is on meta"):
        model(x, y.to("meta"))
    with pytest.raises(TypeError, match="input is on meta"):
        affine_relu(x.to("meta"), torch.ones(3, 4))
    with pytest.raises(TypeError, match="theta is on meta"):
        FusedMLP([4, 3]).to("meta")(x)
    with pytest.raises(TypeError, match=r"theta has dtype torch\.float16"):
        FusedMLP([4, 3]).half()(x)
    with pytest.raises(ValueError, match=r"input has shape \(9, 4\); expected \(..., 5\)"):
        affine_relu(x, torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"bias has shape \(2,\); expected \(3,\)"):
        affine_relu(x, torch.ones(3, 4), torch.ones(2))
    with pytest.raises(ValueError, match="weight has shape"):
        affine_relu(x, torch.ones(4))
    with pytest.raises(ValueError, match="y requires a gradient"):
        model(x, y.requires_grad_())
    with pytest.raises(TypeError, match="without y"):
        model(x, sample_weight=torch.ones(9))
    with pytest.raises(ValueError, match="y has 8 rows, X has 9"):
        model(x, torch.rand(8, 3))
    with pytest.raises(TypeError, match="layout"):
        model(x.to_sparse())
    with pytest.raises(TypeError, match=r"dtype is torch\.float16"):
        FusedMLP([4, 3], dtype=torch.float16)


def flat_of(tensors):
    """In theta's order, of weights (k, d) and biases."""
    return torch.cat([(t.t() if t.ndim == 2 else t).reshape(-1) for t in tensors])


@pytest.fixture
def curved():
    """A fused module, PyTorch's own loss of a copy of it, and the parameters of that."""
    torch.manual_seed(3)
    model = FusedMLP([5, 9, 6, 3], "cross_entropy", activation="tanh", l2=0.1, dtype=F64)
    own, x = model.to_torch(), torch.randn(12, 5, dtype=F64)
    y, s = torch.randint(0, 3, (12,)), torch.rand(12, dtype=F64) + 0.5

    def loss(x):
        each = nn.functional.cross_entropy(own(x), y, reduction="none")
        penalty = sum((p**2).sum() for p in own.parameters() if p.ndim == 2)
        return (s * each).sum() / s.sum() + 0.05 * penalty

    return model, (x, y, s), loss, list(own.parameters())


def test_row34_double_backward_by_the_parameters_is_the_hessians_product(curved):
    model, (x, y, s), own_loss, parameters = curved
    v, theta = torch.randn_like(model.theta), model.theta.detach()
    gradient = flat_of(torch.autograd.grad(own_loss(x), parameters, create_graph=True))
    expected = flat_of(torch.autograd.grad(gradient @ v, parameters))
    (gradient,) = torch.autograd.grad(model(x, y, s), model.theta, create_graph=True)
    (product,) = torch.autograd.grad(gradient @ v, model.theta)
    close(product, expected)
    assert (
        product.numpy().tobytes()
        == fg.curvature.hvp(
            model.net, theta.numpy(), x.numpy(), y.numpy(), v.numpy(), s.numpy()
        ).tobytes()
    )

    def loss(theta):
        return torch.func.functional_call(model, {"theta": theta}, (x, y, s))

    close(torch.func.grad(lambda t: torch.func.grad(loss)(t) @ v)(theta), expected)
    close(torch.autograd.functional.vhp(loss, theta, v)[1], expected)
    whole = fg.curvature.hessian(model.net, theta.numpy(), x.numpy(), y.numpy(), s.numpy())
    close(torch.autograd.functional.hessian(loss, theta), torch.from_numpy(whole))
    scale = torch.tensor(2.0, dtype=F64, requires_grad=True)
    given = scale, theta.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda scale, theta: scale * loss(theta), given)


def test_row34_penalties_on_gradients_by_x_and_theta(curved):
    """Of a function of the loss and of one of the outputs, by the parameters and by x."""
    model, (x, y, s), own_loss, parameters = curved
    own, x, v = model.to_torch(), x.requires_grad_(), torch.randn_like(model.theta)
    parameters_of_own = list(own.parameters())
    pairs = (
        (lambda: own_loss(x) ** 2, lambda: model(x, y, s) ** 2, parameters),
        (lambda: own(x).sin().sum(), lambda: model(x).sin().sum(), parameters_of_own),
    )
    for theirs, mine, parameters in pairs:
        gx, *gradients = torch.autograd.grad(theirs(), [x, *parameters], create_graph=True)
        for weight in (0.0, 1.0):
            penalty = (gx**2).sum() + weight * (flat_of(gradients) @ v)
            of_x, *expected = torch.autograd.grad(penalty, [x, *parameters], retain_graph=True)
            found, gradient = torch.autograd.grad(mine(), (x, model.theta), create_graph=True)
            model.theta.grad = x.grad = None
            ((found**2).sum() + weight * (gradient @ v)).backward()
            close(model.theta.grad, flat_of(expected))
            close(x.grad, of_x)


def test_row34_a_residual_of_second_derivatives_trains(curved):
    """u'' + u of a network of one input: its mean square, and the gradient of that by finite
    differences of the parameters."""
    torch.manual_seed(1)
    model = FusedMLP([1, 8, 1], activation="tanh", dtype=F64)
    x = torch.linspace(-1, 1, 7, dtype=F64)[:, None].requires_grad_()
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    own = model.to_torch()
    (right,) = torch.autograd.grad(own(x).sum(), x, create_graph=True)
    close(bend, torch.autograd.grad(right.sum(), x)[0])
    net, theta = model.net, model.theta.detach().numpy()
    ones = np.ones((7, 1))
    _, mine = fg.curvature.output_hvp(
        net, theta, x.detach().numpy(), ones, None, v_X=ones, need_X=True
    )
    close(bend, torch.from_numpy(mine))


def test_row34_double_backward_of_separate_parameters(curved):
    model, (x, y, s), *_ = curved
    fused = from_torch(model.to_torch(), loss="cross_entropy", l2=0.1)
    for frozen in (None, 2):
        parameters = list(fused.parameters())
        if frozen is not None:
            parameters.pop(frozen).requires_grad_(False)
        gradients = torch.autograd.grad(fused(x, y, s), parameters, create_graph=True)
        sum(gradient.sum() for gradient in gradients).backward()
        arrays = (a.detach().numpy() for a in (model.theta, x, y, s))
        whole = fg.curvature.hessian(model.net, *arrays)
        ones = np.ones(len(whole))
        if frozen is not None:
            model.net.unflatten(ones)[1][0][...] = 0
        wanted = model.net.unflatten(whole @ ones)
        wanted = [torch.from_numpy(a) for W, b in wanted for a in (W.T, b)]
        for parameter, right in zip(fused.parameters(), wanted):
            if parameter.requires_grad:
                close(parameter.grad, right)
            parameter.grad = None


def test_row30_the_gradient_of_outputs_can_be_differentiated_by_what_came_in(curved):
    model, (x, *_), *_ = curved
    v, u, theta = torch.randn_like(model.theta), torch.randn_like(x), model.theta.detach()

    def outputs(theta, x):
        return torch.func.functional_call(model, {"theta": theta}, (x,))

    _, moved = torch.autograd.functional.jvp(outputs, (theta, x), (v, u))
    arrays = (a.numpy() for a in (theta, x, v, u))
    close(moved, torch.from_numpy(fg.jacobians.jvp(model.net, *arrays)))


def test_targets_changed_before_a_second_derivative_are_an_error(curved):
    model, (x, y, s), *_ = curved
    (gradient,) = torch.autograd.grad(model(x, y, s), model.theta, create_graph=True)
    s.mul_(2)
    with pytest.raises(RuntimeError, match="y or sample_weight was changed in place"):
        gradient.sum().backward()


def test_double_backward_and_vmap_are_clear_errors(curved):
    model = FusedMLP([4, 3], dtype=F64)
    x, y = torch.randn(9, 4, dtype=F64, requires_grad=True), torch.rand(9, 3, dtype=F64)
    (dx,) = torch.autograd.grad(
        affine_relu(x, torch.ones(2, 4, dtype=F64)).sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="double backward"):
        dx.sum().backward()
    model, (x, y, s), *_ = curved
    gradient, value = model.theta, model(x, y, s)
    for _ in range(2):
        (gradient,) = torch.autograd.grad(value, model.theta, create_graph=True)
        value = (gradient**2).sum()
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(value, model.theta)
    assert not model.step_loss(x, y).requires_grad
    for call in (model, lambda row: affine_relu(row, torch.ones(2, 5, dtype=F64))):
        with pytest.raises(RuntimeError, match="cannot be vmapped: give all rows at once"):
            torch.func.vmap(call)(x[:, None].detach())


def test_modules_that_do_not_fit_are_named():
    with pytest.raises(TypeError, match=r"module is a Linear; expected nn\.Sequential"):
        from_torch(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"module\[1\] is a ELU; expected .*nn\.ReLU, nn\.Tanh"):
        from_torch(nn.Sequential(nn.Linear(2, 2), nn.ELU()))
    with pytest.raises(ValueError, match=r"the last activation is tanh; expected nn\.ReLU or none"):
        from_torch(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with pytest.raises(ValueError, match=r"module\[2\] is a Tanh; expected nn\.Linear"):
        from_torch(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh()))
    with pytest.raises(TypeError, match="activation is given; expected modules that say which"):
        FusedSequential(nn.Linear(2, 2), activation="tanh")
    with pytest.raises(TypeError, match="an MLP has no setting 'delta'; expected one of huber_de"):
        FusedMLP([2, 2], delta=1.0)
    with pytest.raises(ValueError, match=r"module\[0\] is a ReLU; expected nn.Linear"):
        from_torch(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="has no bias"):
        from_torch(nn.Sequential(nn.Linear(2, 2, bias=False)))
    with pytest.raises(ValueError, match=r"module\[2\] takes 3 inputs"):
        from_torch(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="no layers"):
        from_torch(nn.Sequential())


def test_without_pytorch_the_extra_is_named():
    out = run_python(
        """
        import sys
        sys.modules["torch"] = None
        try:
            import fastgrad.interop.torch
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install "fastgrad[torch]"' in out
