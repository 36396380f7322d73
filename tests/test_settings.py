"""Every setting of a network goes wherever a network goes: files, copies, guests."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import __main__ as entry
from fastgrad._core import fields, files, spec
from fastgrad.losses import LOSSES, parameters

DEFAULT = fg.MLP([3, 4, 2])
# A value of each that is not the default, as a file has it.
OTHER = {
    "layer_sizes": [3, 5, 2], "loss": "absolute_error", "activation": "tanh",
    "output_activation": "relu", "dtype": "float32", "l2": 0.125, "huber_delta": 0.5,
    "quantile": 0.25,
}  # fmt: skip
LOADERS = {"model": fg.load_model, "checkpoint": fg.load_checkpoint}


@pytest.fixture(params=OTHER)
def name(request):
    return request.param


@pytest.fixture
def net(name):
    return fg.MLP(**{"layer_sizes": [3, 4, 2], name: OTHER[name]})


@pytest.fixture(params=LOADERS)
def kind(request):
    return request.param


def written(kind, path, net):
    if kind == "model":
        fg.save_model(path, net, net.init(0))
    else:
        X = np.ones((4, 3))
        fg.fit(net, X, X[:, :2], epochs=1, seed=0, progress=False, checkpoint=path)
    return path


def test_all_of_them_are_here():
    taken = set(inspect.signature(spec.network).parameters) - {"numbers"}
    assert set(DEFAULT.spec.settings()) == taken | set(parameters()) == set(OTHER)
    assert {field.rstrip("?") for field in fields.NETWORK} == set(OTHER)


def test_a_network_is_another_by_each_of_them(name, net):
    assert net != DEFAULT and net.spec.settings()[name] == OTHER[name]
    differing = {**DEFAULT.spec.settings(), name: OTHER[name]}
    assert net.spec.settings() == differing
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), fg.MLP(**differing)):
        assert twin == net and hash(twin) == hash(net) and repr(twin) == repr(net)
    with pytest.raises(AttributeError, match="read-only"):
        setattr(net, "loss_name" if name == "loss" else name, OTHER[name])


def test_files_hold_each_of_them(name, net, kind, tmp_path):
    path = written(kind, tmp_path / "n.npz", net)
    found = LOADERS[kind](path)
    assert found.net == net and found.net.spec.settings()[name] == OTHER[name]
    assert found.theta.dtype == net.dtype


def test_a_wrong_value_of_each_in_a_file_is_named(name, net, kind, tmp_path):
    path = written(kind, tmp_path / "n.npz", net)
    header, arrays = files.read(path, kind)
    header = {key: value for key, value in header.items() if key not in ("kind", "version")}
    header["network"][name] = {}
    files.write(path, kind, header, arrays)
    with pytest.raises(ValueError, match=rf"n\.npz.*network\.{name} is {{}}"):
        LOADERS[kind](path)


def test_a_run_goes_on_with_the_same_of_each(name, net, tmp_path):
    path = written("checkpoint", tmp_path / "n.npz", net)
    X = np.ones((4, 3))
    options = dict(epochs=2, seed=0, progress=False, checkpoint=path, resume=True)
    assert fg.fit(net, X, X[:, :2], **options).epochs == 2
    with pytest.raises(ValueError, match="network"):
        fg.fit(DEFAULT, X, X[:, :2], **options)


def test_pytorch_modules_have_each_of_them_in_either_dtype(name, net):
    torch = pytest.importorskip("torch")
    from fastgrad.interop.torch import FusedMLP

    dtype = torch.float32 if net.dtype == np.float32 else torch.float64
    module = FusedMLP(**{**net.spec.settings(), "dtype": dtype})
    assert module.net == net
    assert module.float().double().to(dtype).net == net
    wide = module.double().net.spec.settings()
    assert wide == {**net.spec.settings(), "dtype": "float64"}


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_the_command_line_has_all_but_the_output_activation(loss, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).standard_normal((12, 5)).round(3)
    np.savetxt("t.csv", X, delimiter=",", header="a,b,c,y,z", comments="")
    wanted = {**OTHER, "loss": loss, "output_activation": "identity"}
    options = {"layers": 5, **wanted}
    del options["layer_sizes"], options["output_activation"]
    for parameter in parameters().values():
        if LOSSES[loss].parameter is not parameter:
            wanted[parameter.name] = parameter.default
            del options[parameter.name]
    given = [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
    code = entry.main(["train", "t.csv", "--target", "y,z", "--epochs", "1", "-o", "m.npz", *given])
    assert code == 0, capsys.readouterr()
    model = fg.load_model("m.npz")
    assert model.net.spec.settings() == model.summary["network"] == wanted
