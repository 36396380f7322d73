"""Checkpoints: resumed runs have the bits of uninterrupted ones, files are whole or not there."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import fastgrad as fg
from fastgrad._core import files

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def network(**options):
    return fg.MLP([4, 6, 2], loss="cross_entropy", dtype="float32", **options)


def train(path=None, epochs=8, net=None, **options):
    options = {"optimizer": fg.Adam(0.01), "batch_size": 7, "seed": 3,
               "validation": (X[:20], Y[:20]), **options}  # fmt: skip
    return fg.fit(net or network(), X, Y, epochs=epochs, checkpoint=path, **options)


def same(a, b):
    assert a.theta.tobytes() == b.theta.tobytes()
    assert a.best_theta.tobytes() == b.best_theta.tobytes()
    assert a.best_epoch == b.best_epoch
    assert a.optimizer.steps == b.optimizer.steps
    for name in set(a.history.columns) - {"seconds"}:
        np.testing.assert_array_equal(a.history[name], b.history[name])


OPTIMIZERS = [
    fg.SGD(0.1),
    fg.Momentum(0.05),
    fg.Nesterov(0.05),
    fg.RMSprop(),
    fg.Adam(fg.schedules.Warmup(fg.schedules.Cosine(0.01, 60), 9)),
    fg.AdamW(clip_norm=1.0),
]


@pytest.mark.parametrize("opt", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("parts", [(3, 8), (1, 2, 5, 8), (8,)])
def test_resumed_as_if_never_interrupted(tmp_path, opt, parts):
    path = tmp_path / "run.npz"
    for epochs in parts:
        result = train(path, epochs, optimizer=opt, resume=True)
    same(result, train(epochs=8, optimizer=opt))


def test_resumed_after_ctrl_c_and_after_a_failed_callback(tmp_path):
    path = tmp_path / "run.npz"

    class Stop:
        def __init__(self, error):
            self.error = error

        def on_step(self, result):
            if result.optimizer.steps == 31:  # in the middle of the fourth epoch
                raise self.error

    assert train(path, callbacks=Stop(KeyboardInterrupt())).interrupted
    assert fg.load_checkpoint(path).run["epoch"] == 3
    with pytest.raises(RuntimeError):
        train(path, resume=True, callbacks=Stop(RuntimeError()))
    same(train(path, resume=True), train())


def test_patience_is_kept(tmp_path):
    path, options = tmp_path / "run.npz", dict(optimizer=fg.Adam(0.2), patience=3)
    whole = train(epochs=100, **options)
    assert whole.stopped == "patience"
    train(path, whole.epochs - 2, **options)
    resumed = train(path, 100, resume=True, **options)
    same(resumed, whole)
    again = train(path, 100, resume=True, **options)
    assert again.stopped == "patience"
    same(again, whole)


def test_a_loss_that_was_not_finite_stays_the_end(tmp_path):
    path = tmp_path / "run.npz"
    options = dict(optimizer=fg.SGD(1e30), validation=None)
    with pytest.warns(RuntimeWarning, match="not finite"):
        first = train(path, **options)
    assert first.stopped == "not finite"
    with pytest.warns(RuntimeWarning, match="not finite"):
        assert train(path, resume=True, **options).epochs == first.epochs


def test_every_so_many_epochs(tmp_path):
    path, seen = tmp_path / "run.npz", []

    def look(result):
        seen.append(fg.load_checkpoint(path).run["epoch"] if path.exists() else 0)

    train(path, 7, checkpoint_every=3, callbacks=look)
    assert seen == [0, 0, 0, 3, 3, 3, 6]
    assert fg.load_checkpoint(path).run["epoch"] == 7


def test_what_is_in_it(tmp_path):
    path = tmp_path / "run.npz"
    result = train(path, net=network(l2=0.01))
    saved = fg.load_checkpoint(path)
    assert repr(saved.net) == repr(network(l2=0.01))
    assert saved.theta.tobytes() == result.theta.tobytes()
    assert saved.history.loss.tobytes() == result.history.loss.tobytes()
    opt = fg.Adam(0.01)
    opt.load_state_dict(saved.optimizer)
    assert opt.steps == result.optimizer.steps
    with np.load(path, allow_pickle=False) as stored:  # no objects, so no code
        assert all(stored[name].dtype.kind in "fU" for name in stored)
        json.loads(str(stored["header"]))
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(net=network(l2=0.5)), r"its network l2 is 0\.0, this one's 0\.5$"),
        (dict(batch_size=8), "its batch_size is 7, this one's 8"),
        (dict(shuffle=False), "its shuffle"),
        (dict(sample_weight=np.ones(60)), "its weighted"),
        (dict(optimizer=fg.SGD(0.01)), "its optimizer is 'Adam'"),
        (
            dict(optimizer=fg.Adam(0.02, beta1=0.8)),
            r"its settings lr is 0\.01, this one's 0\.02; its settings beta1 is 0\.9, this one's 0",
        ),
        (dict(validation=None), "its validation"),
        (dict(seed=4), "its seed is '3', this one's '4'"),
        (dict(theta=network().init(seed=0)), "it began with another theta"),
    ],
)
def test_another_run_is_refused(tmp_path, change, words):
    path = tmp_path / "run.npz"
    train(path, 2)
    with pytest.raises(ValueError, match=f"of another run: {words}"):
        train(path, resume=True, **change)


def test_what_is_not_said_is_the_checkpoints(tmp_path):
    path, start = tmp_path / "run.npz", network().init(seed=9)
    for epochs, options in ((2, dict(theta=start)), (4, dict(seed=None)), (8, dict(theta=start))):
        resumed = train(path, epochs, resume=True, **options)
    same(resumed, train(theta=start))


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "run.npz"
    train(path, 1)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"run\.npz is not a fastgrad checkpoint"):
            fg.load_checkpoint(path)
    for _ in range(30):  # a flipped byte is found, or changes nothing
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 0xFF
        path.write_bytes(damaged)
        try:
            saved = fg.load_checkpoint(path)
        except ValueError as error:
            assert "run.npz" in str(error)
        else:
            assert np.isfinite(saved.theta).all()
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(ValueError, match="damaged"):
        fg.load_checkpoint(path)
    np.savez(path, theta=np.ones(3))
    with pytest.raises(ValueError, match="not a fastgrad checkpoint"):
        fg.load_checkpoint(path)
    files.write(path, "model", {}, {})
    with pytest.raises(ValueError, match=r"it is a 'model': read it with fastgrad\.load_model"):
        fg.load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        fg.load_checkpoint(tmp_path / "none.npz")


def test_a_place_that_cannot_be_written_is_found_before_the_first_step(tmp_path, monkeypatch):
    def no_step(result):
        raise AssertionError("a step was made")

    (tmp_path / "folder").mkdir()
    cases = {
        tmp_path / "folder": (ValueError, "checkpoint .*folder is a folder; expected a file name"),
        tmp_path / "none" / "run.npz": (ValueError, "checkpoint .*no folder .*none"),
        3: (TypeError, "checkpoint is 3; expected a file name"),
    }
    for path, (error, words) in cases.items():
        with pytest.raises(error, match=words):
            train(path, callbacks=no_step)
    for name in ("n" * 256, "ü" * 128, "a\0b"):
        with pytest.raises(ValueError, match=r"(?s)checkpoint .*; expected a file name"):
            train(tmp_path / name, callbacks=no_step)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"checkpoint .*file/run\.npz"):
        train(tmp_path / "file" / "run.npz", callbacks=no_step)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "touch", full)
        with pytest.raises(ValueError, match=r"checkpoint .* cannot be written to: No space left"):
            train(tmp_path / "run.npz", callbacks=no_step)
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(ValueError, match=r"checkpoint .* cannot be written to"):
        train(tmp_path / "run.npz", callbacks=no_step)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("n" * 255)
    train(path, 1)
    assert fg.load_checkpoint(path).run["epoch"] == 1


def test_the_place_stays_where_it_was_when_fit_began(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    train("run.npz", 2, callbacks=lambda result: os.chdir(tmp_path / "elsewhere"))
    assert fg.load_checkpoint(tmp_path / "run.npz").run["epoch"] == 2
    assert not os.listdir(tmp_path / "elsewhere")


def test_nothing_that_is_there_is_replaced(tmp_path):
    path = tmp_path / "run.npz"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"checkpoint .*run\.npz exists and is no checkpoint"):
        train(path)
    with pytest.raises(ValueError, match=r"run\.npz is not a fastgrad checkpoint"):
        train(path, resume=True)
    assert path.read_text() == "mine"
    path.unlink()
    train(path, 2)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"checkpoint .*run\.npz exists; pass resume=True"):
        train(path, 3)
    assert path.read_bytes() == before
    assert train(path, 3, resume=True).epochs == 3


def test_pickled_objects_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = tmp_path / "run.npz"
    train(path, 1)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["theta"] = np.array([Bomb()], dtype=object)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"run\.npz is a damaged fastgrad checkpoint: theta"):
        fg.load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_file_of_arrays_is_not_read_as_another(tmp_path):
    path = tmp_path / "run.npz"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"not a fastgrad checkpoint, .*: it is no \.npz file"):
        fg.load_checkpoint(path)
    with open(path) as file:
        with pytest.raises(TypeError, match="int"):
            fg.load_checkpoint(file.fileno())
        assert file.read() == "a,b\n1,2\n"


def test_wrong_sizes_and_versions_are_found(tmp_path):
    path = tmp_path / "run.npz"
    train(path, 1)
    header, arrays = files.read(path, "checkpoint")
    body = {name: value for name, value in header.items() if name not in ("kind", "version")}
    files.write(path, "checkpoint", body, {**arrays, "theta": arrays["theta"][:-1]})
    with pytest.raises(ValueError, match="damaged"):
        fg.load_checkpoint(path)
    files.write(path, "checkpoint", body, {**arrays, "theta": arrays["theta"].astype(float)})
    with pytest.raises(ValueError, match="damaged"):
        fg.load_checkpoint(path)
    files.write(path, "checkpoint", {**body, "version": 99}, arrays)
    with pytest.raises(ValueError, match="version 99; expected 1"):
        fg.load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    train(path, 1)
    before = path.read_bytes()

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        train(path, 2, resume=True)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]


def left_behind(path):
    """What a writer that was killed a while ago leaves."""
    leftover = files.temporary_beside(path)
    leftover.write_bytes(b"")
    os.utime(leftover, (0, 0))
    return leftover


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    path = tmp_path / "run.npz"
    old, fresh = left_behind(path), files.temporary_beside(path)
    fresh.write_bytes(b"")
    train(path, 1)
    assert not old.exists() and fresh.exists()


def test_files_of_the_users_own_are_never_swept(tmp_path):
    path = tmp_path / "run.npz"
    ours = left_behind(path).name
    names = [
        ".run.npz.my-notes.tmp", ".run.npz.aa.tmp", ".run.npz.0123456789ab.tmp", ours + "~",
        ours.upper(), "x" + ours, ours[:-4], ours.replace(".tmp", ".notes.tmp"),
        ours[:-17] + "g" * 12 + ".tmp", files.temporary_beside(tmp_path / "other.npz").name,
        ours + "\n",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    folder, link = files.temporary_beside(path), files.temporary_beside(path)
    folder.mkdir()
    os.utime(folder, (0, 0))
    link.symlink_to(tmp_path / names[0])
    os.utime(link, (0, 0), follow_symlinks=False)
    train(path, 1)
    assert set(os.listdir(tmp_path)) == {*names, folder.name, link.name, "run.npz"}


def test_exclusive_writing_never_replaces(tmp_path):
    path = tmp_path / "out.txt"
    with files.replaced(path, "w", exclusive=True) as file:
        file.write("first")
    with pytest.raises(FileExistsError), files.replaced(path, "w", exclusive=True) as file:
        file.write("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["out.txt"]


VICTIM = """
import sys, numpy as np, fastgrad as fg
X = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
y = (X[:, 0] > 0).astype(np.int64)
net = fg.MLP([4, 6, 2], loss="cross_entropy", dtype="float32")
fg.fit(net, X, y, epochs=1)  # kernels are loaded
print("ready", flush=True)
result = fg.fit(net, X, y, epochs=int(sys.argv[2]), batch_size=7, seed=3, optimizer="adam",
                checkpoint=sys.argv[1], resume=True)
print(result.theta.tobytes().hex())
"""


def _victim(path, epochs):
    return subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path), str(epochs)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _kill_and_resume(tmp_path, kills, epochs, seed):
    """Kill -9 at random moments; every checkpoint loads; the end has the bits of a whole run."""
    whole = _victim(tmp_path / "whole.npz", epochs).communicate()[0].split()[-1]
    path, rng, done = tmp_path / "run.npz", np.random.default_rng(seed), 0
    reached = set()
    while done < kills:
        process = _victim(path, epochs)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.25))
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += killed
        if path.exists():
            saved = fg.load_checkpoint(path)
            reached.add(saved.run["epoch"])
            if saved.run["epoch"] == epochs:  # finished: compare, then from the start again
                path_bits = saved.theta.tobytes().hex()
                assert path_bits == whole
                path.unlink()
    finished = _victim(path, epochs).communicate()[0].split()[-1]
    assert finished == whole
    assert len(reached) > kills // 4  # the kills were during training


def test_killed_at_random_moments(tmp_path):
    _kill_and_resume(tmp_path, kills=3, epochs=500, seed=0)


@pytest.mark.stress
def test_killed_fifty_times(tmp_path):
    _kill_and_resume(tmp_path, kills=50, epochs=2000, seed=1)


def test_the_file_is_a_plain_zip(tmp_path):
    path = tmp_path / "run.npz"
    train(path, 1)
    assert zipfile.ZipFile(path).testzip() is None
