"""Kernels that a wheel brings: which process takes them, that nothing compiles then, same bits."""

import base64
import csv
import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numba
import pytest
from helpers import run_python
from test_cache import CALL, copied_package, kernels_in

from fastgrad.kernels import folders, levels, simd

ROOT = Path(__file__).parents[1]
HERE = levels.of_this_machine()
OWN = levels.of_this_process()
COUNTS = """
from fastgrad.kernels.cache import counts
print(counts["compiled"], counts["cache"], counts["wheel"])
print(fg.config()["kernels"])
"""


def backend():
    pytest.importorskip("setuptools.build_meta")
    path = ROOT / "fastgrad" / "_build" / "backend.py"
    spec = importlib.util.spec_from_file_location("backend", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# levels


@pytest.mark.parametrize("level", levels.LEVELS.values(), ids=lambda level: level.name)
def test_a_level_runs_where_all_its_features_are_and_vectors_are_as_wide(level):
    features = level.features
    assert level.runs_on(level.simd, features + ",+rdrnd,-fma4")
    assert not level.runs_on("plain", features)
    for name in features.split(","):
        if name.startswith("+"):
            assert not level.runs_on(level.simd, features.replace(name, "-" + name[1:]))


@pytest.mark.parametrize("level", HERE, ids=lambda level: level.name)
def test_a_process_that_compiles_for_a_level_has_its_vectors_and_is_of_it(level):
    code = (
        "from fastgrad.kernels import folders, levels, simd\n"
        "print(levels.of_this_process().name, simd.PATH, *folders.own_target()[1:])"
    )
    said = run_python(code, **level.environment).split()
    assert said == [level.name, level.simd, level.cpu, level.features]


def test_another_processor_has_no_level():
    code = "from fastgrad.kernels import levels\nprint(levels.of_this_process())"
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert run_python(code, **generic).strip() == "None"


# a package with kernels in it


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A copy of the package with a level's kernel, as a wheel is unpacked."""
    if OWN is None:
        pytest.skip("this processor has no level")
    folder = tmp_path_factory.mktemp("wheel")
    package, cache = copied_package(folder), folder / "cache"
    environment = {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": "", **OWN.environment}
    run_python(CALL, FASTGRAD_CACHE=str(cache), **environment)
    (cache / folders.STAMP).rename(cache / OWN.name)
    to = package / "kernels" / "compiled" / folders.STAMP
    to.mkdir(parents=True)
    (cache / OWN.name).rename(to / OWN.name)
    return package


def said_by(package, tmp_path, *args, **environment):
    """What is counted and said by a process with an empty cache."""
    environment = {"FASTGRAD_CACHE": str(tmp_path / "cache"), **environment}
    out = run_python(CALL + COUNTS, *args, PYTHONPATH=str(package.parent), **environment)
    counts, words = out.splitlines()
    return counts.split(), words


def test_a_fresh_process_compiles_nothing_and_writes_nothing(wheel, tmp_path):
    counts, words = said_by(wheel, tmp_path)
    assert counts == ["0", "0", "1"]
    assert words == f"{OWN.name}, from the wheel; others compiled here"
    assert not kernels_in(tmp_path)
    assert said_by(wheel, tmp_path, FASTGRAD_CACHE="0")[0] == counts


def test_what_the_wheel_has_not_is_compiled_for_this_processor(wheel, tmp_path):
    assert said_by(wheel, tmp_path, "f4")[0] == ["1", "0", "0"]
    assert len(kernels_in(tmp_path)) == 1


def test_the_user_may_want_code_for_this_processor_alone(wheel, tmp_path):
    counts, words = said_by(wheel, tmp_path, FASTGRAD_KERNELS="native")
    assert counts == ["1", "0", "0"] and words == "compiled here, as FASTGRAD_KERNELS says"


def test_another_processor_compiles_as_without_a_wheel(wheel, tmp_path):
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    counts, words = said_by(wheel, tmp_path, **generic)
    assert counts == ["1", "0", "0"]
    assert words == "compiled here (the wheel has none for this processor)"


def test_other_sources_or_another_numba_compile_and_say_why(wheel, tmp_path):
    package = copied_package(tmp_path)
    other = package / "kernels" / "compiled" / folders.STAMP.replace(numba.__version__, "0.61.0")
    (wheel / "kernels" / "compiled" / folders.STAMP).rename(other.parent.parent / "kept")
    try:
        other.parent.mkdir(exist_ok=True)
        (other.parent.parent / "kept").rename(other)
        counts, words = said_by(package, tmp_path)
    finally:
        other.rename(wheel / "kernels" / "compiled" / folders.STAMP)
    assert counts == ["1", "0", "0"]
    assert words.startswith("compiled here (the wheel's are for ") and "numba0.61.0" in words


def test_a_clone_has_no_kernels_of_a_wheel():
    assert not folders.WHEEL.exists() and folders.wheel_folder() == (None, "compiled here")


# the backend


def test_who_gets_kernels(monkeypatch):
    """Whoever builds; not who installs with pip, and waits; each can say otherwise."""
    module = backend()
    for name in ("PIP_BUILD_TRACKER", module.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert module.wanted() == [] and module.wanted({"kernels": "all"}) == []
    assert module.wanted({"kernels": "none"}) is None
    assert module.wanted({"kernels": "x86-64-v3, x86-64-v4"}) == ["x86-64-v3", "x86-64-v4"]
    monkeypatch.setenv("PIP_BUILD_TRACKER", "somewhere")
    assert module.wanted() is None and module.wanted({"kernels": "all"}) == []
    monkeypatch.setenv(module.VARIABLE, "1")
    assert module.wanted() == [] and module.wanted({"kernels": "none"}) is None
    monkeypatch.setenv(module.VARIABLE, "0")
    assert module.wanted() is None


def test_a_pure_wheel_needs_no_numba_and_one_with_kernels_that_of_run_time():
    module = backend()
    assert module._run_time_requirements()[1].startswith("numba>=")
    module.build_meta.get_requires_for_build_wheel = lambda settings: ["setuptools>=77"]
    needs = module.get_requires_for_build_wheel
    assert needs({"kernels": "none"}) == ["setuptools>=77"]
    assert needs({"kernels": "all"}) == ["setuptools>=77", *module._run_time_requirements()]


def test_the_tag_is_that_of_the_numba_compiled_with():
    python, abi, platform = backend().numba_tag().split("-")
    assert python == abi.rstrip("dt") == f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert platform and platform != "any"


def test_every_folder_is_named_as_a_package():
    """setuptools warns of a folder that could be one and is not."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("no sources beside an installed package")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'"(.*?)"', text.split("\npackages = [")[1].split("]")[0])
    folders = {path.parent for path in (ROOT / "fastgrad").rglob("*.*") if path.is_file()}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(listed) == {name for name in names if "__pycache__" not in name}


PURE = {
    "fastgrad/__init__.py": b"",
    "fastgrad-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: setuptools\n"
    b"Root-Is-Purelib: true\nTag: py3-none-any\n\n",
    "fastgrad-1.0.dist-info/RECORD": b"",
}


def test_a_wheel_with_kernels_is_whole(tmp_path):
    pure = tmp_path / "fastgrad-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pure, "w") as archive:
        for name, data in PURE.items():
            archive.writestr(name, data)
    tag = "cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64"
    made = backend().with_kernels(pure, {"fastgrad/kernels/compiled/a.nbc": b"code"}, tag)
    assert made.name == f"fastgrad-1.0-{tag}.whl" and not pure.exists()
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None
        record = list(csv.reader(io.StringIO(archive.read(archive.namelist()[-1]).decode())))
        assert [row[0] for row in record] == archive.namelist()
        for name, digest, size in record[:-1]:
            data = archive.read(name)
            code = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
            assert digest == "sha256=" + code.rstrip(b"=").decode() and int(size) == len(data)
        lines = archive.read("fastgrad-1.0.dist-info/WHEEL").decode().splitlines()
    assert "Root-Is-Purelib: false" in lines
    assert [line for line in lines if line.startswith("Tag:")] == [
        "Tag: cp311-cp311-manylinux_2_27_x86_64",
        "Tag: cp311-cp311-manylinux_2_28_x86_64",
    ]


# what a call compiles


PREDICT = """
import numpy as np, fastgrad as fg
from fastgrad.kernels import cache
names = []
cache.compiling.append(names.append)
net = fg.MLP([64, 128, 10], loss="cross_entropy", dtype="float32")
X = np.ones((3000, 64), "f4")
theta = net.init(seed=0)
many = net.predict(theta, X)
assert net._plan(3000, fg.kernels.records.OUTPUTS, False, False).parallel
assert (net.predict(theta, X[:1]) == many[:1]).all()
net.predict_proba(theta, X[:1])
print(len(names), *sorted(names))
"""


def test_a_prediction_compiles_neither_gradient_nor_threads(tmp_path):
    said = run_python(PREDICT, FASTGRAD_CACHE=str(tmp_path), NUMBA_NUM_THREADS="2").split()
    count, names = int(said[0]), said[1:]
    assert count == len(set(names)) and count <= 12
    banned = "parallel", "back", "gradient", "loss", "reduce", "weights", "transposed", "sum_rows"
    assert not [name for name in names if any(word in name for word in banned)]


# bits


BITS = """
import numpy as np, fastgrad as fg
from fastgrad.kernels import cache
from helpers import draw_problem
for dtype in ("f4", "f8"):
    for loss, sizes, rows in (("cross_entropy", [8, 64, 64, 3], 33), ("mse", [5, 7, 2], 30)):
        net = fg.MLP(sizes, loss, dtype=dtype, activation="tanh" if loss == "mse" else "relu")
        theta, X, y, _ = draw_problem(np.random.default_rng(1), sizes, rows, loss, np.dtype(dtype))
        value, grad = net.loss_and_grad(theta, X, y)
        print(float(value).hex(), grad.tobytes().hex(), net.predict(theta, X).tobytes().hex())
        result = fg.fit(net, X, y, optimizer="adam", epochs=3, batch_size=8, seed=0)
        print(result.theta.tobytes().hex())
assert not cache.counts["wheel"]
"""


@pytest.mark.stress
@pytest.mark.parametrize("level", HERE, ids=lambda level: level.name)
def test_code_of_a_level_has_the_bits_of_code_for_this_processor(level, tmp_path):
    """Of the same vectors: where these are narrower, the processor's own with the level's alone."""
    own = {}
    if level is not OWN:
        if OWN is None or (level.simd, OWN.simd) != ("avx2", "avx512"):
            pytest.skip("this processor has no such vectors")
        own = {"NUMBA_CPU_FEATURES": simd.target_features().replace("+avx512", "-avx512")}
    tuning = {"FASTGRAD_CACHE": str(tmp_path)}
    assert run_python(BITS, **tuning, **own) == run_python(BITS, **tuning, **level.environment)


# a real wheel


FIRST = """
import numpy as np, fastgrad as fg
from fastgrad.kernels import cache
for dtype in ("f4", "f8"):
    net = fg.MLP([8, 64, 64, 3], loss="cross_entropy", dtype=dtype)
    net.loss_and_grad(net.init(seed=0), np.ones((32, 8), dtype), np.zeros(32, np.int64))
    X, y = np.ones((50, 8), dtype), np.zeros(50, np.int64)
    fg.fit(net, X, y, epochs=1, validation=(X, y), seed=0)
    net.predict_proba(net.init(seed=0), X)
assert cache.counts["wheel"] and not cache.counts["compiled"], cache.counts
"""


@pytest.mark.stress
def test_a_wheel_as_it_is_built_installed_and_used(tmp_path):
    """Some minutes: built in this environment, unpacked, used with an empty cache."""
    pytest.importorskip("setuptools.build_meta")
    build = "import sys, backend\nprint(backend.build_wheel(sys.argv[1], {'kernels': 'all'}))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "fastgrad/_build")},
    )  # fmt: skip
    path = tmp_path / done.stdout.split()[-1]
    assert path.name.endswith(f"{backend().numba_tag()}.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "FASTGRAD_CACHE": str(tmp_path / "cache")}
    code = f"import fastgrad\nassert fastgrad.__file__.startswith({str(tmp_path)!r})\n" + FIRST
    if OWN:
        run_python(code, **environment)
        assert not kernels_in(tmp_path / "cache")
