"""Damaged checkpoints and models: a ValueError that names the file, whatever is wrong with it."""

import io
import itertools
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

import fastgrad as fg
from fastgrad._core import archive, fields, files

X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0])
LOADERS = {"checkpoint": fg.load_checkpoint, "model": fg.load_model}
JUNK = [None, [], {}, [[]], {"a": []}, "", "no", -1, 0, 2**62, 2**200, 0.5, np.nan, np.inf, True,
        10**400, ["a", 1], "\ud800"]  # fmt: skip


def resume(path):
    options = dict(optimizer="momentum", validation=(X, Y), seed=0, progress=False)
    return fg.fit(fg.MLP([1, 1]), X, Y, epochs=2, checkpoint=path, resume=True, **options)


@pytest.fixture(params=LOADERS)
def saved(request, tmp_path):
    """(kind, path, header, arrays) of a file of each kind."""
    path, kind = tmp_path / "run.npz", request.param
    if kind == "checkpoint":
        resume(path)
    else:
        net = fg.MLP([1, 2], loss="cross_entropy")
        fg.save_model(path, net, net.init(0), features=["x"], classes=["a", "b"], summary={"a": 1})
    header, arrays = files.read(path, kind)
    return kind, path, {k: v for k, v in header.items() if k not in ("kind", "version")}, arrays


def places(rule, above=()):
    """Every field of a table, as a tuple of names."""
    for key, inner in rule.items():
        place = (*above, key)
        yield place
        if isinstance(inner, dict):
            yield from places(inner, place)


def changed(header, place, value):
    """A copy of a header with another value there; `...`: without the field."""
    header = json.loads(json.dumps(header))
    *above, last = [name.rstrip("?") for name in place]
    inner = header
    for name in above:
        inner = inner[name]
    if value is ...:
        inner.pop(last, None)
    else:
        inner[last] = value
    return header


def refused_or_right(kind, path):
    """Whether it was refused, as it should be; what loads can be used, or is refused then."""
    try:
        LOADERS[kind](path)
        if kind == "checkpoint":
            resume(path)
    except ValueError as error:
        assert "run.npz" in str(error), error
        return True
    return False


def test_every_field_of_the_header_and_every_wrong_value(saved):
    kind, path, header, arrays = saved
    refused = accepted = 0
    table = fields.HEADERS[kind]
    for place, value in itertools.product(places(table), [..., *JUNK]):
        files.write(path, kind, changed(header, place, value), arrays)
        rule = table
        for name in place:
            rule = rule[name]
        wrong = refused_or_right(kind, path)
        if value is ...:
            assert wrong or place[-1].endswith("?"), place
        elif isinstance(rule, dict) or not rule.holds(value):
            name = ".".join(part.rstrip("?") for part in place)
            with pytest.raises(ValueError, match=rf"damaged fastgrad {kind}: {name}"):
                LOADERS[kind](path)
        refused, accepted = refused + wrong, accepted + (not wrong)
    assert refused > 5 * accepted > 0


@pytest.mark.parametrize("junk", [*JUNK, [1, 2], "checkpoint"])
def test_a_header_that_is_another_value_kind_or_version(saved, junk):
    kind, path, header, arrays = saved
    if junk == kind:
        junk = kind.upper()
    for text in (junk, {**header, "kind": junk}, {**header, "kind": kind, "version": junk}):
        np.savez(path, header=np.array(json.dumps(text)), **arrays)
        with pytest.raises(ValueError, match=r"run\.npz is (not )?a "):
            LOADERS[kind](path)


WRONG_ARRAYS = {
    "a row more": lambda a: np.concatenate([a, a[-1:]]),
    "none": lambda a: a[:0],
    "another rank": lambda a: a[None],
    "a scalar": lambda a: a.reshape(-1)[0],
    "float16": lambda a: a.astype("f2"),
    "the other float": lambda a: a.astype("f4"),
    "integers": lambda a: a.astype("i8"),
    "text": lambda a: a.astype("U"),
    "a record": lambda a: np.zeros(a.shape, [("a", "f8")]),
    "objects": lambda a: a.astype(object),
}


@pytest.mark.parametrize("wrong", WRONG_ARRAYS)
def test_every_array_and_every_wrong_one(saved, wrong):
    kind, path, header, arrays = saved
    for name, array in arrays.items():
        files.write(path, kind, header, {**arrays, name: WRONG_ARRAYS[wrong](array)})
        with pytest.raises(ValueError, match=rf"run\.npz is a damaged fastgrad {kind}: .*{name}"):
            LOADERS[kind](path)
    for name in arrays:
        files.write(path, kind, header, {n: a for n, a in arrays.items() if n != name})
        with pytest.raises(ValueError, match=rf"run\.npz is a damaged fastgrad {kind}: .*{name}"):
            LOADERS[kind](path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": {"best_epoch": 0}}, "run.waited is 0; expected 2"),
        ({"run": {"best": 0.25}}, "run.best is 0.25; expected .*, of epoch 2"),
        ({"run": {"epoch": 3}}, r"history_loss has shape \(2,\) .*; expected \(3,\)"),
        ({"run": {"optimizer": "Adam"}}, "run.optimizer is 'Adam'; expected 'Momentum'"),
        ({"optimizer": {"name": "Adam"}, "run": {"optimizer": "Adam"}}, "state has 1 rows .* 2$"),
        ({"history": ["loss", "seconds"]}, "history is .*; expected .*'learning_rate'"),
        ({"history": ["loss"] * 5}, "each once"),
        ({"network": {"l2": 0.5}}, "run.network is"),
        ({"network": {"layer_sizes": [2**62, 2**62]}}, "network.layer_sizes is"),
        ({"network": {"layer_sizes": [2**40, 2**40]}}, "theta has shape"),
        ({"network": {"loss": "logistic", "output_activation": "relu"},
          "run": {"network": {"loss": "logistic", "output_activation": "relu"}}}, "takes logits"),
    ],
)  # fmt: skip
def test_parts_of_a_checkpoint_that_do_not_fit_together(tmp_path, change, words):
    path = tmp_path / "run.npz"
    resume(path)
    header, arrays = files.read(path, "checkpoint")

    def merged(old, new):
        if not isinstance(new, dict):
            return new
        return {**old, **{key: merged(old[key], value) for key, value in new.items()}}

    files.write(path, "checkpoint", merged(header, change), arrays)
    with pytest.raises(ValueError, match=rf"run\.npz is a damaged fastgrad checkpoint: .*{words}"):
        fg.load_checkpoint(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("name", ["history_seconds", "history_learning_rate"])
def test_seconds_and_rates_are_numbers(tmp_path, name, bad):
    path = tmp_path / "run.npz"
    resume(path)
    header, arrays = files.read(path, "checkpoint")
    arrays[name][0] = bad
    files.write(path, "checkpoint", header, arrays)
    with pytest.raises(ValueError, match=rf"run\.npz .*{name} is not finite"):
        fg.load_checkpoint(path)


def test_a_model_whose_parts_do_not_fit_together(tmp_path):
    path = tmp_path / "run.npz"
    net = fg.MLP([2, 3], loss="cross_entropy")
    fg.save_model(path, net, net.init(0), features=["x", "y"], classes=[1, 2, 3])
    header, arrays = files.read(path, "model")
    for change in ({"features": ["x"]}, {"classes": [1, 2]}, {"classes": [1, 1, 2]},
                   {"classes": [1, "a", 2]}, {"target_mean": 2.0}, {"target_scale": [2.0]},
                   {"features": "xy"}):  # fmt: skip
        files.write(path, "model", {**header, **change}, arrays)
        with pytest.raises(ValueError, match=r"run\.npz is a damaged fastgrad model: "):
            fg.load_model(path)
    for name, bad in (("theta", np.nan), ("mean", np.inf), ("scale", 0.0), ("scale", -1.0)):
        array = arrays[name].copy()
        array[0] = bad
        files.write(path, "model", header, {**arrays, name: array})
        with pytest.raises(ValueError, match=rf"run\.npz is a damaged fastgrad model: {name}"):
            fg.load_model(path)


# the archive


def add(path, name, content, pack=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "a", pack) as members:
        members.writestr(name, content)


@pytest.mark.parametrize("name", ["foreign.npy", "notes.txt", "../theta.npy", "theta", "folder/"])
def test_members_that_are_not_ours_are_never_unpacked(saved, name):
    kind, path, _, arrays = saved
    add(path, name, bytes(50_000_000))
    tracemalloc.start()
    loaded = LOADERS[kind](path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 and loaded.theta.tobytes() == arrays["theta"].tobytes()


def zeros(shape, dtype="f8"):
    """A member that holds so many zeros, if it holds them."""
    start = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(start, described)
    return start.getvalue()


@pytest.mark.parametrize("member", ["header", "theta", "state"])
@pytest.mark.parametrize(
    "content",
    [
        zeros((10**7,)) + bytes(8 * 10**7),  # small while it is packed
        zeros((2**40,)),
        zeros((-1,)),
        zeros((2**70, 0)),
        zeros((), "U0"),
        zeros(()) + bytes(8),
        zeros((1, 2)) + bytes(24),
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O'",
        b"\x93NUMPY\x09\x00",
        b"",
    ],
    ids=range(10),
)
def test_members_that_say_what_they_do_not_hold(tmp_path, member, content):
    path = tmp_path / "run.npz"
    resume(path)
    with zipfile.ZipFile(path) as old:
        kept = {name: old.read(name) for name in old.namelist()}
    kept[f"{member}.npy"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in kept.items():
            new.writestr(name, data)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"run\.npz is "):
        fg.load_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 or member == "header"


def test_a_file_that_was_packed_again_is_read(saved):
    kind, path, header, arrays = saved
    text = json.dumps({"kind": kind, "version": fields.VERSION, **header})
    big_endian = {
        name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()
    }
    np.savez_compressed(path, header=np.array(text), **big_endian)
    assert LOADERS[kind](path).theta.tobytes() == arrays["theta"].tobytes()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_of_other_makes(saved):
    kind, path, *_ = saved
    whole = path.read_bytes()
    add(path, "theta.npy", b"")
    with pytest.raises(ValueError, match=r"run\.npz .* has 2 members theta\.npy; expected one"):
        LOADERS[kind](path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path.with_name("b"), "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_BZIP2)
    os.replace(path.with_name("b"), path)
    with pytest.raises(ValueError, match=r"run\.npz .*packed in an unknown way"):
        LOADERS[kind](path)


def test_every_byte_that_flips(saved):
    """It is found, or it changes nothing that is loaded."""
    kind, path, _, arrays = saved
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        try:
            loaded = LOADERS[kind](path)
        except ValueError as error:
            assert "run.npz" in str(error)
        else:
            assert loaded.theta.tobytes() == arrays["theta"].tobytes()


@pytest.mark.parametrize("code", [0x110000, 0xD800, 0xFFFFFFFF])
def test_a_header_of_what_are_no_characters(tmp_path, code):
    path = tmp_path / "run.npz"
    np.savez(path, header=np.array([code], np.uint32).view("U1")[0:1].reshape(()))
    with pytest.raises(ValueError, match=r"run\.npz is not a fastgrad model"):
        fg.load_model(path)


def test_a_header_nested_too_deeply(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, header=np.array("[" * 100_000))
    with pytest.raises(ValueError, match=r"run\.npz is not a fastgrad model"):
        fg.load_model(path)


def test_a_header_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "HEADER_BYTES", 4000)
    net = fg.MLP([1, 1])
    with pytest.raises(ValueError, match="characters; expected at most 1000"):
        fg.save_model(tmp_path / "m.npz", net, net.init(0), summary={"a": "b" * 1000})
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "run.npz"
    os.mkfifo(path)
    for load in LOADERS.values():
        with pytest.raises(ValueError, match=r"run\.npz is not a fastgrad .* no regular file"):
            load(path)
    with pytest.raises(ValueError, match=r"run\.npz"):
        resume(path)
