"""Block sizes: a function of the caches, fixed by a variable, shown, and measured by `tune`."""

import json
import subprocess

import numpy as np
import pytest
from helpers import forget_plans, run_python
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._core import candidates, machine, tuning
from fastgrad._core import plan as plans
from fastgrad.kernels import micro_kernel, simd
from fastgrad.kernels.records import GRADIENT, LAYER, LOSS, PACKED_BOTH, PLAN

sizes = st.integers(1, 2**36)
caches = st.builds(lambda *x: machine.bounded(dict(zip(("l1", "l2", "l3"), x))), *[sizes] * 3)


@given(caches, caches)
def test_larger_caches_never_mean_smaller_blocks(some, others):
    larger = machine.Caches(*map(max, zip(some, others)))
    for number, of_larger in zip(tuning.model(some), tuning.model(larger)):
        assert number <= of_larger


@given(caches)
def test_blocks_fit_their_caches(found):
    numbers = tuning.model(found)
    for name, number in numbers._asdict().items():
        assert getattr(tuning.LEAST, name) <= number <= getattr(tuning.MOST, name)
    assert numbers.panel < found.l1
    assert numbers.weights + numbers.rows < found.l2
    for itemsize in (4, 8):
        kc = tuning.block_of_k(numbers.panel, itemsize)
        tile = micro_kernel.MR * itemsize + micro_kernel.NV * simd.VECTOR_BYTES
        assert kc % 8 == 0 and 32 <= kc <= 512
        assert kc == 32 or kc * tile <= numbers.panel


def test_what_a_system_does_not_say_is_a_small_machine():
    assert machine.bounded({}) == machine.UNKNOWN == (32 * 1024, 512 * 1024, 2 * 2**20)
    assert machine.bounded({"l1": 0, "l2": -1}) == machine.UNKNOWN


@pytest.mark.parametrize(("reported", "counted"), [(1, 2), (4, 4), (32, 8), (1024, 8)])
def test_of_a_shared_l3_two_to_eight_mib_count(reported, counted):
    assert machine.bounded({"l3": reported * 2**20}).l3 == counted * 2**20


def write_index(folder, level, kind, size, cpus):
    folder.mkdir()
    names = {"level": level, "type": kind, "size": size, "shared_cpu_list": cpus}
    for name, text in names.items():
        (folder / name).write_text(f"{text}\n")


def test_caches_from_linux(tmp_path):
    write_index(tmp_path / "index0", 1, "Data", "32K", "0,8")
    write_index(tmp_path / "index1", 1, "Instruction", "64K", "0,8")
    write_index(tmp_path / "index2", 2, "Unified", "4096K", "0-3")
    write_index(tmp_path / "index3", 3, "Unified", "32M", "0-3,8-11")
    (tmp_path / "index4").mkdir()
    found = machine._from_linux(tmp_path)
    assert found == {"l1": 32 * 1024, "l2": 2**20, "l3": 4 * 2**20}
    (tmp_path / "index2" / "size").write_text("unknown\n")
    assert machine._from_linux(tmp_path) == {"l1": 32 * 1024, "l3": 4 * 2**20}
    assert machine._from_linux(tmp_path / "nowhere") == {}


def test_caches_from_macos():
    table = {
        "hw.perflevel0.l1dcachesize": 131072,
        "hw.l1dcachesize": 65536,
        "hw.l2cachesize": 2**22,
    }

    def read(name):
        if name not in table:
            raise subprocess.CalledProcessError(1, "sysctl")
        return table[name]

    assert machine._from_sysctl(read) == {"l1": 131072, "l2": 2**22}


@given(st.builds(tuning.Tuning, *(st.integers(*pair) for pair in zip(tuning.LEAST, tuning.MOST))))
def test_the_variable_says_every_number(numbers):
    assert tuning.parsed(tuning.as_text(numbers)) == numbers
    spaced = ", ".join(reversed(tuning.as_text(numbers).split(",")))
    assert tuning.parsed(spaced) == numbers


GOOD = tuning.as_text(tuning.model(machine.UNKNOWN))
BAD = {
    "fast": "'fast' in it; expected panel=BYTES,",
    "panel=4096": "without weights, rows, wide, chunk",
    f"{GOOD},panel=8192": "'panel=8192' in it",
    f"{GOOD},l4=1": "'l4=1' in it",
    GOOD.replace("panel=", "panel=-"): "'panel=-",
    GOOD.replace("panel=", "panel=0x"): "'panel=0x",
    GOOD.replace("panel=", "panel=9999999999"): "panel=9999999999",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_variable_is_an_error_that_says_what_is_expected(text):
    with pytest.raises(ValueError, match="FASTGRAD_TUNING") as caught:
        tuning.parsed(text)
    assert BAD[text] in str(caught.value) and "expected" in str(caught.value)


def test_a_bad_variable_is_one_line_of_the_command_line(cli, monkeypatch):
    monkeypatch.setenv("FASTGRAD_TUNING", "fast")
    monkeypatch.setattr(tuning, "_chosen", None)
    code, out, err = cli("info")
    assert code == 2 and out == "" and "FASTGRAD_TUNING is 'fast'" in err


def test_numbers_are_part_of_plans_not_of_compiled_code():
    """Two processes with other numbers plan other blocks with the same machine code, and agree
    with Python in compiled code."""
    code = """
        import numpy as np, fastgrad as fg
        from fastgrad._core import plan, tuning
        from fastgrad.kernels.records import GRADIENT, LOSS, PLAN
        from fastgrad.kernels.jit import SOURCES_DIGEST
        net = fg.MLP([300, 200, 5], "mse", dtype="float32")
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((600, 300)), rng.standard_normal((600, 5))
        grads = [net.loss_and_grad(net.init(0), X.astype("f4"), y.astype("f4"), threads=t)[1]
                 for t in (1, 2)]
        assert grads[0].tobytes() == grads[1].tobytes()
        vector = plan.network_plan(net.spec, 600, LOSS | GRADIENT, False).vector
        print(vector[PLAN.kc], vector[PLAN.wide], SOURCES_DIGEST, grads[0].tobytes().hex())
        print(fg.config()["tuning"], fg.config()["tuned by"])
        """
    found = {}
    for panel in (8192, 36_864):
        text = f"panel={panel},weights=100000,rows=196608,wide=100000,chunk=33554432"
        lines = [run_python(code, FASTGRAD_TUNING=text, NUMBA_NUM_THREADS="2") for _ in range(2)]
        assert lines[0] == lines[1], "the same numbers, the same bits, in any process"
        found[panel] = lines[0].split()
        assert found[panel][-2:] == [text, "FASTGRAD_TUNING"]
        kc = tuning.block_of_k(panel, 4)
        assert found[panel][:2] == [str(kc), "1"]
    few, many = found.values()
    assert few[2] == many[2] and few[0] != many[0]
    few, many = (np.frombuffer(bytes.fromhex(x[3]), np.float32) for x in (few, many))
    np.testing.assert_allclose(few, many, rtol=0, atol=1e-5 * np.abs(many).max())


def test_tasks_of_wide_layers_are_even_and_fit_the_model(monkeypatch):
    numbers = tuning.model(machine.UNKNOWN)
    monkeypatch.setattr(tuning, "_chosen", numbers)
    forget_plans()
    for dtype in (np.float32, np.float64):
        net = fg.MLP([784, 512, 256, 10], dtype=dtype)
        vector = plans.network_plan(net.spec, 3000, LOSS | GRADIENT, False).vector
        assert vector[PLAN.wide]
        for layer in vector[PLAN.size :].reshape(-1, LAYER.size):
            if layer[LAYER.weight_gradient] != PACKED_BOTH:
                continue
            rows, itemsize = layer[LAYER.weight_rows], np.dtype(dtype).itemsize
            assert rows * vector[PLAN.kc] * itemsize <= numbers.weights
            tasks = -(-layer[LAYER.d] // rows)
            assert tasks * rows - layer[LAYER.d] < tasks * micro_kernel.MR
    forget_plans()


def test_configuration_shows_what_was_found_and_chosen():
    shown = fg.config()
    assert shown["tuning"] == tuning.as_text(tuning.tuned())
    assert shown["caches"] == tuning.described(tuning.found())
    assert shown["tuned by"] in ("model", "FASTGRAD_TUNING")


def test_tune_measures_candidates_and_prints_the_variable(cli, monkeypatch):
    small = ((20, 30, 3), 64, np.float32)
    monkeypatch.setattr(candidates.measure, "__defaults__", ((small,), 3))
    before = tuning.tuned()
    code, out, err = cli("tune", "--json")
    answer = json.loads(out)
    assert code == 0 and err == "" and tuning.tuned() == before
    name, text = answer["variable"].split("=", 1)
    tried = candidates.candidates(tuning.found())
    assert name == "FASTGRAD_TUNING" and tuning.parsed(text) == tried[answer["best"]]
    assert answer["times"].keys() == tried.keys() and answer["times"]["model"] == 1
    code, out, _ = cli("tune")
    assert code == 0 and out.splitlines()[-1].startswith("export FASTGRAD_TUNING=panel=")
    assert "the model loses" in out


@pytest.mark.parametrize(
    ("times", "again", "best"),
    [([1.0, 0.985, 1.1], [1.0, 0.985], "model"), ([1.0, 0.9, 0.95], [1.0, 1.01], "model"),
     ([1.0, 1.02, 0.9], [1.0, 0.93], "third"), ([1.0, 1.02, 1.03], None, "model")],
)  # fmt: skip
def test_another_is_best_if_it_is_faster_twice_by_more_than_noise(times, again, best):
    tried = dict(zip(("model", "other", "third"), range(3)))
    answers = iter([times, again])

    def measure(tried):
        return dict(zip(tried, next(answers)))

    assert candidates.search(tried, measure)[1] == best


def test_candidates_differ_and_are_within_bounds():
    for found in (machine.LEAST, machine.UNKNOWN, machine.MOST):
        tried = candidates.candidates(found)
        assert next(iter(tried)) == "model" and 3 <= len(tried) <= 12
        assert len(set(tried.values())) == len(tried)
        for numbers in tried.values():
            assert tuning.parsed(tuning.as_text(numbers)) == numbers
