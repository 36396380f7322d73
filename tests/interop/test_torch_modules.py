"""The PyTorch modules among PyTorch's own tools: layers and their names, compile, func, prune."""

import copy
import io
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters  # noqa: E402

import fastgrad as fg  # noqa: E402
from fastgrad.interop.torch import (  # noqa: E402
    DenseReLU,
    FusedMLP,
    FusedSequential,
    affine_relu,
    from_torch,
)

F64 = torch.float64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def layers(dtype=F64):
    return nn.Linear(3, 4, dtype=dtype), nn.ReLU(), nn.Linear(4, 2, dtype=dtype)


def data(n=5, dtype=F64):
    return torch.randn(n, 3, dtype=dtype), torch.randn(n, 2, dtype=dtype)


def close(a, b, tol=1e-12):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def negative(*shape):
    """A view whose numbers are the negative of what is in memory."""
    view = torch.randn(*shape, dtype=torch.complex128).conj().imag
    assert view.is_neg()
    return view


# a parameter a layer


@pytest.mark.parametrize("names", [None, ["first", "act", "last"]])
def test_state_dicts_exchange_with_nn_sequential(names):
    parts = layers()
    peer = nn.Sequential(OrderedDict(zip(names, parts)) if names else OrderedDict())
    if not names:
        peer = nn.Sequential(*parts)
    fused = from_torch(peer)
    assert list(fused.state_dict()) == list(peer.state_dict())
    assert [p.stride() for p in fused.parameters()] == [p.stride() for p in peer.parameters()]
    x, _ = data()
    for p in peer.parameters():
        nn.init.normal_(p)
    assert not torch.equal(fused(x), peer(x))  # a copy
    fused.load_state_dict(peer.state_dict())
    close(fused(x), peer(x))
    peer.load_state_dict(fused.double().state_dict())
    for other in (copy.deepcopy(fused), reloaded(fused), fused.to_torch()):
        close(other(x), peer(x))


def reloaded(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_it_is_one_node_of_the_graph():
    model, (x, y) = FusedSequential(*layers()), data()
    for out in (model(x), model(x, y)):
        parents = [function for function, _ in out.grad_fn.next_functions if function]
        assert [type(parent).__name__ for parent in parents] == ["AccumulateGrad"] * 4


@pytest.mark.parametrize("frozen", [[], ["0.weight"], ["0.weight", "0.bias"], ["2.bias"],
                                    ["0.weight", "0.bias", "2.weight", "2.bias"]])  # fmt: skip
def test_layers_can_be_frozen(frozen):
    """In the module that is copied or later; the others' gradients are as ever, x's too."""
    peer, (x, y) = nn.Sequential(*layers()), data()
    for name in frozen:
        peer.get_parameter(name).requires_grad_(False)
    fused = from_torch(peer)
    x.requires_grad_()
    for model, value in (
        (peer, lambda: nn.functional.mse_loss(peer(x), y)),
        (fused, lambda: nn.functional.mse_loss(fused(x), y)),
        (fused, lambda: fused(x, y)),
    ):
        model.zero_grad()
        x.grad = None
        value().backward()
        if model is peer:
            expected = x.grad
        close(x.grad, expected)
        for (name, p), (_, q) in zip(peer.named_parameters(), fused.named_parameters()):
            assert (q.grad is None) == (name in frozen) or model is peer
            if model is fused and q.grad is not None:
                close(q.grad, p.grad)
    mark = torch.full_like(fused[2].bias, 7.0)
    fused[2].bias.grad = mark.clone()
    fused.step_loss(x.detach(), y)
    assert torch.equal(fused[2].bias.grad, mark) == ("2.bias" in frozen)


def test_step_loss_leaves_a_frozen_parameters_gradient_alone():
    x, y = data()
    for model in (FusedMLP([3, 2], dtype=F64), FusedSequential(nn.Linear(3, 2, dtype=F64))):
        expected = model(x, y)
        model.requires_grad_(False)
        assert model.step_loss(x, y) == expected
        assert all(p.grad is None for p in model.parameters())
        for p in model.parameters():
            p.grad = torch.full_like(p, 7.0)
        model.step_loss(x, y)
        assert all((p.grad == 7).all() for p in model.parameters())


def test_a_layer_that_stands_twice_gets_the_sum():
    shared = nn.Linear(3, 3, dtype=F64)
    peer = nn.Sequential(shared, nn.ReLU(), shared)
    fused = FusedSequential(*peer)
    x = torch.randn(5, 3, dtype=F64)
    nn.functional.mse_loss(peer(x), x).backward()
    expected, shared.weight.grad = shared.weight.grad, None
    fused(x, x).backward()
    close(shared.weight.grad, expected)
    fused.step_loss(x, x)
    close(shared.weight.grad, expected)


def test_modules_are_looked_at_again_when_they_change():
    model, (x, _) = FusedSequential(*layers()), data()
    model.append(nn.ReLU())
    assert (model(x) >= 0).all() and model.net.output_activation == "relu"
    model[0] = nn.Linear(3, 4, dtype=F64)
    close(model(x), nn.Sequential.forward(model, x))
    assert model[:2](x).shape == (5, 4)
    model[1] = nn.Tanh()
    close(model(x), nn.Sequential.forward(model, x))
    model[1] = nn.LeakyReLU(0.01)
    close(model(x), nn.Sequential.forward(model, x))
    model[1].negative_slope = 0.2
    with pytest.raises(ValueError, match=r"module\[1\] is LeakyReLU.*; expected a negative_slope"):
        model(x)
    model[1] = nn.ELU()
    for _ in range(2):
        with pytest.raises(TypeError, match=r"module\[1\] is a ELU; expected nn\.Linear or one of"):
            model(x)
    model[1] = nn.ReLU()
    model.float()
    assert model.net.dtype == np.float32 and model(x.float()).dtype == torch.float32
    model[0].double()
    with pytest.raises(TypeError, match=r"weight of module\[2\] has dtype torch.float32, the para"):
        model(x)


class OwnForward(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("parts", "kind", "words"),
    [
        ([OwnForward(3, 4)], TypeError, r"module\[0\] is a OwnForward"),
        (
            [nn.LazyLinear(4)],
            (TypeError, ValueError),
            r"module\[0\] (has no shape|is a LazyLinear)",
        ),
        ([nn.Linear(3, 4, dtype=torch.float16)], TypeError, r"weight of module\[0\] has dtype"),
        ([nn.Linear(3, 4, device="meta")], TypeError, r"weight of module\[0\] is on meta"),
        ([nn.Linear(3, 4), nn.ReLU6()], TypeError, r"module\[1\] is a ReLU6"),
        ([nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2).double()], TypeError, r"of module\[2\] has"),
    ],
)
def test_layers_that_do_not_fit_are_named(parts, kind, words):
    for make in (lambda: FusedSequential(*parts), lambda: from_torch(nn.Sequential(*parts))):
        with pytest.raises(kind, match=words):
            make()
    with pytest.raises(ValueError, match="loss is 'msee'"):
        FusedSequential(nn.Linear(3, 4), loss="msee")


def test_hooks_and_pruned_layers_are_named():
    x, y = data()
    for hook in ("register_forward_hook", "register_forward_pre_hook"):
        model = FusedSequential(*layers())
        handle = getattr(model[2], hook)(lambda *args: None)
        for call in (lambda m: m(x), lambda m: m(x, y), lambda m: m.step_loss(x, y)):
            with pytest.raises(ValueError, match=r"module\[2\] has hooks, which are not run"):
                call(model)
        handle.remove()
        model(x)
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"module\[0\] has hooks"):
        model(x)
    prune.remove(model[0], "weight")
    close(model(x), nn.Sequential.forward(model, x))


def test_parametrized_layers_work_in_the_graph():
    model, (x, y) = FusedSequential(*layers()), data()
    nn.utils.parametrizations.weight_norm(model[0])
    nn.functional.mse_loss(nn.Sequential.forward(model, x), y).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x, y).backward()
    for p, grad in zip(model.parameters(), expected):
        close(p.grad, grad)
    with pytest.raises(ValueError, match="computed from others"):
        model.step_loss(x, y)


# DenseReLU.weight


def test_parameters_to_vector_and_back():
    layer, peer = DenseReLU(3, 4), nn.Linear(3, 4)
    peer.load_state_dict(layer.state_dict())
    vector = parameters_to_vector(layer.parameters())
    assert torch.equal(vector, parameters_to_vector(peer.parameters()))
    vector_to_parameters(2 * vector, layer.parameters())
    assert torch.equal(layer.weight, 2 * peer.weight)
    x = torch.randn(2, 3)
    close(layer(x), torch.relu(2 * peer(x)), 1e-5)
    with torch.no_grad():
        layer.weight.view(-1)[0] = 5.0
    assert layer.weight[0, 0] == 5


@pytest.mark.parametrize("method", [prune.l1_unstructured, prune.random_unstructured])
def test_pruning(method):
    layer, peer = DenseReLU(3, 4, dtype=F64), nn.Linear(3, 4, dtype=F64)
    peer.load_state_dict(layer.state_dict())
    for module in (layer, peer):
        torch.manual_seed(1)
        method(module, "weight", amount=0.5)
    assert torch.equal(layer.weight_mask, peer.weight_mask)
    x, _ = data()
    close(layer(x), torch.relu(peer(x)))
    layer(x).sum().backward()
    torch.relu(peer(x)).sum().backward()
    close(layer.weight_orig.grad, peer.weight_orig.grad)


# torch.compile, torch.func, tracing


MODELS = {
    "FusedMLP": lambda: FusedMLP([3, 4, 2], dtype=F64),
    "FusedSequential": lambda: FusedSequential(*layers()),
    "DenseReLU": lambda: DenseReLU(3, 2, dtype=F64),
}


@pytest.mark.parametrize("name", MODELS)
def test_compile_breaks_the_graph_and_works(name):
    model, (x, y) = MODELS[name](), data()

    def step(module):
        model.zero_grad()
        loss = nn.functional.mse_loss(module(2 * x) + 1, y)
        loss.backward()
        return loss, [p.grad.clone() for p in model.parameters()]

    expected, gradients = step(model)
    for module in (torch.compile(model, backend="eager"),
                   torch.compile(nn.Sequential(model, nn.Identity()), backend="eager"),
                   torch.compile(lambda x: model(x), backend="eager")):  # fmt: skip
        for _ in range(2):
            found, own = step(module)
            close(found, expected)
            for a, b in zip(own, gradients):
                close(a, b)


def test_compiled_losses_functions_and_steps():
    model, (x, y) = FusedMLP([3, 4, 2], dtype=F64), data()
    weight = torch.randn(4, 3, dtype=F64)
    for function in (lambda: model(x, y), lambda: model.step_loss(x, y),
                     lambda: affine_relu(x, weight)):  # fmt: skip
        close(torch.compile(function, backend="eager")(), function())


@pytest.mark.parametrize("name", MODELS)
def test_functional_gradients(name):
    model, (x, y) = MODELS[name](), data()
    parameters = dict(model.named_parameters())

    def value(parameters, x):
        return nn.functional.mse_loss(torch.func.functional_call(model, parameters, (x,)), y)

    x.requires_grad_()
    value(parameters, x).backward()
    detached = {key: p.detach() for key, p in parameters.items()}
    made, dx = torch.func.grad(value, argnums=(0, 1))(detached, x.detach())
    close(dx, x.grad)
    for key, p in parameters.items():
        close(made[key], p.grad)
    out, back = torch.func.vjp(lambda x: model(x), x.detach())
    x.grad = None
    model(x).backward(torch.ones_like(out))
    close(back(torch.ones_like(out))[0], x.grad)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_what_torch_func_cannot_have_is_said(name):
    model, (x, y) = MODELS[name](), data()

    def next_derivative(f):
        return lambda x: torch.func.grad(f)(x).square().sum()

    def third(x):
        first = next_derivative(lambda x: model(x).square().sum())
        return next_derivative(next_derivative(first))(x)

    cases = {
        "cannot be vmapped": lambda: torch.func.jacrev(model)(x),
        "no forward-mode derivative": lambda: torch.func.jvp(model, (x,), (x,)),
        "a double backward": lambda: third(x),
        "traced by torch.jit": lambda: torch.jit.trace(model, (x,)),
        "neither traced nor exported": lambda: torch.export.export(model, (x,)),
    }
    if name != "DenseReLU":
        cases["step_loss leaves gradients in .grad"] = lambda: torch.func.grad(
            lambda x: model.step_loss(x, y)
        )(x)
    for words, call in cases.items():
        with pytest.raises((RuntimeError, NotImplementedError, TypeError), match=words):
            call()


# tensors of odd memory


def test_views_of_a_negative_are_taken():
    model, layer = FusedMLP([3, 4, 2], dtype=F64), DenseReLU(3, 2, dtype=F64)
    sequential = FusedSequential(*layers())
    x, y, theta = negative(5, 3), negative(5, 2), negative(model.theta.numel())
    weight, bias = negative(2, 3), negative(2)
    plain = [tensor.clone().resolve_neg() for tensor in (x, y, theta, weight, bias)]
    calls = [
        lambda x, y, theta, w, b: model(x, y),
        lambda x, y, theta, w, b: model.step_loss(x, y),
        lambda x, y, theta, w, b: sequential(x, y),
        lambda x, y, theta, w, b: layer(x),
        lambda x, y, theta, w, b: affine_relu(x, w, b),
        lambda x, y, theta, w, b: torch.func.functional_call(model, {"theta": theta}, (x, y)),
        lambda x, y, theta, w, b: model(x, y, b.abs()[:1].expand(5)),
        lambda x, y, theta, w, b: torch.autograd.grad(model(x), model.theta, y)[0],
    ]
    for call in calls:
        assert torch.equal(call(x, y, theta, weight, bias), call(*plain))


@pytest.mark.parametrize("odd", ["strided", "column", "negative", "plain", "of another graph"])
def test_gradients_of_any_layout_are_written_to(odd):
    model, (x, y) = FusedMLP([3, 2], dtype=F64), data()
    model(x, y).backward()
    expected, p = model.theta.grad.clone(), model.theta.numel()
    grad = {
        "strided": lambda: torch.zeros(2 * p, dtype=F64)[::2],
        "column": lambda: torch.zeros(p, 2, dtype=F64)[:, 1],
        "negative": lambda: negative(p),
        "plain": lambda: torch.zeros(p, dtype=F64),
        "of another graph": lambda: torch.zeros(p, dtype=F64, requires_grad=True) * 1,
    }[odd]()
    model.theta.grad = grad
    model.step_loss(x, y)
    assert torch.equal(model.theta.grad, expected) and model.theta.grad is grad


def test_gradients_that_cannot_be_written_to_are_named():
    (x, y), table = data(), torch.zeros(8, dtype=F64)
    model = FusedMLP([3, 2], dtype=F64)
    model.theta.grad = table.to_sparse()
    with pytest.raises(TypeError, match=r"the \.grad of a parameter has layout torch\.sparse_coo"):
        model.step_loss(x, y)
    for repeated in (torch.zeros(1, dtype=F64).expand(8), torch.zeros((), dtype=F64).expand(8)):
        model.theta.grad = repeated
        with pytest.raises(ValueError, match=r"the \.grad of a parameter repeats its elements"):
            model.step_loss(x, y)
    model.theta.grad = None
    with pytest.raises(ValueError, match="y has 4 rows, X has 5"):
        model.step_loss(x, y[:4])
    assert model.theta.grad is None  # nothing was made before the checks


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a.requires_grad_(),
        lambda a: a.to("meta"),
        lambda a: torch.complex(a, a).conj().imag,
        lambda a: a.to_sparse(),
        lambda a: a.bfloat16(),
        lambda a: nn.Parameter(a),
    ],
    ids=["requires grad", "meta", "negative", "sparse", "bfloat16", "parameter"],
)
def test_numpy_functions_name_a_tensor_that_they_cannot_read(make):
    net = fg.MLP([3, 2])
    good = {"theta": net.init(0), "X": np.ones((4, 3)), "y": np.ones((4, 2))}
    for name, array in good.items():
        tensor = make(torch.from_numpy(array.copy()))
        with pytest.raises(TypeError, match=rf"^{name} (cannot be made an array|has dtype)"):
            net.loss_and_grad(**{**good, name: tensor})
    for call in (fg.relu, fg.relu_mask, lambda Z: fg.affine(Z, np.ones((3, 2)), np.ones(2)),
                 lambda Z: fg.fit(net, Z, good["y"]), lambda Z: fg.calculus.relu_derivative(Z),
                 lambda Z: fg.evaluate(net, good["theta"], Z, good["y"])):  # fmt: skip
        with pytest.raises(TypeError, match=r"^(X|Z|z) (cannot be made an array|has dtype)"):
            call(make(torch.ones(4, 3, dtype=F64)))
