"""The asv suite's names: a benchmark that asv would not find, or one that vanished, fails here."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import simd_path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = re.compile(r"^(time|timeraw|track|peakmem|mem)_.+")
HOOKS = {"setup", "setup_cache", "teardown", "prepare"}

NAMES = {
    "bench_accuracy.Accuracy.track_relative_error",
    "bench_derivatives.Hessian.time_hessian",
    "bench_derivatives.Multiple.track_multiple_of_gradient",
    "bench_first_call.FirstCall.timeraw_import_fastgrad",
    "bench_first_call.FirstCall.timeraw_import_numba",
    "bench_first_call.FirstCall.track_first_gradient_cold",
    "bench_first_call.FirstCall.track_first_gradient_warm",
    "bench_first_call.FirstCall.track_import_beyond_numba",
    "bench_layer.Layer.time_backward",
    "bench_layer.Layer.time_forward",
    "bench_layer.Layer.time_forward_and_backward",
    "bench_memory.Memory.peakmem_baseline",
    "bench_memory.Memory.peakmem_million_rows",
    "bench_memory.Memory.track_rows_without_temporary",
    "bench_memory.Memory.track_workspace_million_rows",
    "bench_network.Network.time_loss_and_grad",
    "bench_neuron.Neuron.time_loss_and_grad",
    "bench_overhead.Overhead.time_smallest_call",
    "bench_overhead.Overhead.track_outside_kernel",
    "bench_per_sample.Gram.time_gram",
    "bench_per_sample.Gram.time_ntk_trace",
    "bench_per_sample.Multiple.track_multiple_of_gradient",
    "bench_per_sample.PerSample.time_clipped_loss_and_grad",
    "bench_per_sample.PerSample.time_grad_norms",
    "bench_roofline.Machine.track_limit",
    "bench_roofline.Peer.track_ratio_to_numpy",
    "bench_roofline.Roofline.track_roofline_fraction",
    "bench_sparse.Sparse.time_loss_and_grad",
    "bench_sparse.Sparse.time_predict",
    "bench_stack.CrossValidation.time_ten_folds",
    "bench_stack.Stack.time_loop_of_calls",
    "bench_stack.Stack.time_loss_and_grad",
    "bench_stack.Stack.time_predict",
    "bench_training.Training.time_epoch",
    "bench_training.Training.time_fit",
}

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not beside the tests"
)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def modules():
    paths = sorted((ROOT / "benchmarks").glob("*.py"))
    return [p.stem for p in paths if p.stem.startswith("bench_")]


def methods(module):
    """(class, method) names that a module's own classes define."""
    loaded = importlib.import_module(f"benchmarks.{module}")
    for _, cls in inspect.getmembers(loaded, inspect.isclass):
        if cls.__module__ == loaded.__name__:
            for name, _ in inspect.getmembers(cls, inspect.isfunction):
                yield cls.__name__, name


def test_the_list_of_benchmarks():
    found = {
        f"{module}.{cls}.{name}"
        for module in modules()
        for cls, name in methods(module)
        if PREFIX.match(name)
    }
    assert found == NAMES


def test_no_method_has_a_name_that_asv_does_not_know():
    strays = [
        f"{module}.{cls}.{name}"
        for module in modules()
        for cls, name in methods(module)
        if not PREFIX.match(name) and name not in HOOKS and not name.startswith("_")
    ]
    assert strays == []


def test_asv_finds_the_same():
    discovery = pytest.importorskip("asv_runner.discovery")
    before = list(sys.meta_path)
    try:
        found = {b.name for b in discovery.disc_benchmarks(str(ROOT / "benchmarks"))}
    finally:
        sys.meta_path[:] = before
    assert found == NAMES


def test_works_are_distinct_and_counted():
    workloads = importlib.import_module("benchmarks.workloads")
    assert len(workloads.BY_NAME) == len(workloads.WORKS)
    work = workloads.Work("", "network", 7, (3, 5, 2))
    # forward 3*5 + 5*2, dW the same, dX 5*2 alone: the inputs' gradient is not asked for
    assert work.flops == 2 * 7 * (25 + 25 + 10)
    assert work.parameters == 3 * 5 + 5 + 5 * 2 + 2
    assert workloads.Work("", "neuron", 7, (3, 1)).flops == 4 * 7 * 3
    assert workloads.Work("", "layer", 7, (3, 5)).flops == 6 * 7 * 15


def test_the_sweep_is_the_same_every_time_and_bounded():
    workloads = importlib.import_module("benchmarks.workloads")
    works = workloads.sweep(200)
    assert works == workloads.sweep(200)
    assert len(works) == 200
    assert all(w.flops <= workloads.SWEEP_FLOPS and w.bytes <= workloads.SWEEP_BYTES for w in works)
    assert {len(w.sizes) - 1 for w in works} == {1, 2, 3, 4, 5}
    assert {w.dtype for w in works} == {"float32", "float64"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "neuron;nosuch"], r"--only 'nosuch' is in no work's name(?s:.*)64-128-10"),
        (["--threads", "9999"], r"--threads is 9999; expected 1 to \d+"),
        (["--threads", "0"], "--threads is 0"),
        (["--before", "nowhere"], "--before nowhere: there is no folder fastgrad"),
        (["--peers", "nosuch"], "--peers names .*nosuch.*numpy"),
    ],
)
def test_peers_that_cannot_be_compared_are_refused_at_once(arguments, words):
    peers = importlib.import_module("benchmarks.peers")
    with pytest.raises(SystemExit, match=words):
        peers.main(arguments)


def test_only_the_works_asked_for():
    peers = importlib.import_module("benchmarks.peers")
    options = peers._parser().parse_args(["--only", "tiny; 64-128"])
    assert [work.name for work in peers._works(options)] == ["tiny layer 64 x 8 -> 4",
                                                             "64-128-10, 128 rows"]  # fmt: skip


def measured(simd, threads, seconds):
    """What `peers --json` writes, of two works."""
    names = "one neuron 256 x 16", "64-128-10, 128 rows"
    rows = [
        {"name": name, "seconds": {"fastgrad": ours, "numpy": 3e-5}, "best": "numpy",
         "ratios": {"numpy": 3e-5 / ours}, "limit": 1e-5}
        for name, ours in zip(names, seconds)
    ]  # fmt: skip
    peak = {"float32": 1e11, "float64": 5e10}
    return {"config": {"cpu": "znver", "simd": simd}, "threads": threads, "versions": {"n": "n 1"},
            "roofline": {"peak": peak}, "rows": rows}  # fmt: skip


def test_the_table_has_a_column_for_each_path_and_names_what_is_lost(tmp_path, capsys):
    table = importlib.import_module("benchmarks.table")
    files = []
    for number, result in enumerate(
        [measured("avx512", 1, (1e-5, 2e-5)), measured("avx2", 2, (2e-5, 4e-5))]
    ):
        files.append(str(tmp_path / f"{number}.json"))
        Path(files[-1]).write_text(json.dumps(result))
    assert table.main(files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("|") == 6 and "AVX-512, 1 thread " in lines[0]
    assert "AVX2, 2 threads" in lines[0]
    assert lines[2] == (
        "| one neuron 256 x 16 | 10.0 µs, 100 % | numpy, 3.00 | 20.0 µs, 50 % | numpy, 1.50 |"
    )
    assert [line for line in lines if "behind" in line] == [
        "- behind numpy, 0.75: 64-128-10, 128 rows"
    ]


def test_the_avx2_path_is_that_of_the_tests():
    paths = importlib.import_module("benchmarks.paths").avx2()
    own = simd_path("avx2")
    assert {name: paths[name] for name in own} == own


def test_shapes_of_the_search_are_the_same_every_time_and_bounded():
    search = importlib.import_module("benchmarks.search")
    shapes = search.shapes(40)
    assert shapes == search.shapes(40) and len(set(shapes)) == 40
    for sizes, n, _ in shapes:
        flops = 6 * n * sum(d * k for d, k in pairwise(sizes))
        assert search.FLOPS[0] <= flops <= search.FLOPS[1]


@pytest.mark.parametrize("name", ["one neuron 256 x 16", "24-8-2, 200 rows, float64"])
def test_a_wrong_result_is_seen_and_a_right_one_passes(name):
    contenders = importlib.import_module("benchmarks.contenders")
    peers = importlib.import_module("benchmarks.peers")
    workloads = importlib.import_module("benchmarks.workloads")
    work = workloads.BY_NAME[name]
    exact = contenders.exact(work)
    step, read = contenders.fastgrad(work, *workloads.data(work), 1)
    loss, grad = read(step())
    assert peers.relative_error((loss, grad), exact) <= peers.TOLERANCE[work.dtype]
    wrong = grad.copy()
    wrong[0] += 0.01 * abs(grad).max()
    assert peers.relative_error((loss, wrong), exact) > peers.TOLERANCE[work.dtype]
    assert peers.relative_error((loss * 1.01, grad), exact) > peers.TOLERANCE[work.dtype]
    assert peers.relative_error((loss, grad * float("nan")), exact) == float("inf")


@pytest.mark.parametrize("peer", ["fastgrad", "torch", "jax"])
@pytest.mark.parametrize("kind", ["vjp", "jvp", "ggn_vp", "hvp", "gradient", "hessian"])
def test_derivatives_of_contenders_are_the_closed_forms(kind, peer, monkeypatch):
    if peer != "fastgrad":
        pytest.importorskip(peer)
    contenders = importlib.import_module("benchmarks.contenders")
    derivatives = importlib.import_module("benchmarks.derivatives")
    peers = importlib.import_module("benchmarks.peers")
    workloads = importlib.import_module("benchmarks.workloads")
    work = workloads.Work("", kind, 9, (3, 6, 2), "float32", "cross_entropy")
    if kind in ("gradient", "hessian"):
        work = workloads.Work("", kind, 9, (2, 6, 1), "float32", activation="softplus")
    exact = contenders.exact(work)
    for numbers in (1e7, 1.0)[: 2 if kind == "hessian" and peer == "torch" else 1]:
        monkeypatch.setattr(derivatives, "NUMBERS", numbers)
        step, read = contenders.contender(peer, work)(work, *workloads.data(work), 2)
        assert peers.relative_error(read(step()), exact) < peers.TOLERANCE["float32"]


def test_the_report_of_every_work_and_contender_fits_120_columns():
    contenders = importlib.import_module("benchmarks.contenders")
    peers = importlib.import_module("benchmarks.peers")
    report = importlib.import_module("benchmarks.report")
    roofline = importlib.import_module("benchmarks.roofline")
    workloads = importlib.import_module("benchmarks.workloads")
    names = [*contenders.CONTENDERS, "before"]
    rows = [
        peers.Row(work, dict.fromkeys(names, 123e-6), dict.fromkeys(names[1:], 0.87),
                  faults={"torch.compile": "RuntimeError: " + "words " * 40}, limit=1e-6,
                  bound="memory", disturbed=0.5)
        for work in (*workloads.WORKS, *workloads.sweep(20))
    ]  # fmt: skip
    levels = dict.fromkeys(("L2", "L3", "memory", "float32", "float64"), 1e11)
    limits = roofline.Roofline(2, levels, levels, {})
    config = {"cpu": "AMD EPYC 9R14", "simd": "avx512", "python": "3.11.7", "numpy": "2.4.6",
              "numba": "0.68.1"}  # fmt: skip
    versions = {name: f"{name} 1.2.3" for name in names}
    text = [report.head(2, config, versions, {"x": "why " * 60}, limits), report.table_head()]
    text += [report.table_row(row) for row in rows]
    text += [report.times(rows, names), report.times(rows, names[:5]), report.foot(rows, True)]
    lines = "\n".join(text).splitlines()
    assert max(map(len, lines)) <= report.WIDTH
    assert any("<< LOSES" in line for line in lines)


def test_a_run_is_estimated_from_its_works_contenders_and_rounds():
    report = importlib.import_module("benchmarks.report")
    workloads = importlib.import_module("benchmarks.workloads")
    settings = {"rounds": 9, "seconds": 0.02, "pause": 0.03}
    names = ["fastgrad", "numpy", "torch.compile"]
    whole = report.estimate(workloads.WORKS, names, **settings)
    assert 30 < whole < 1800
    assert report.estimate(workloads.WORKS[:3], names, **settings) < whole / 2
    assert report.estimate(workloads.WORKS, names[:2], **settings) < whole
    assert report.expected(workloads.WORKS, names, **settings).startswith("29 works, 3 contenders")
    assert "0 seconds, up to" in report.expected(workloads.WORKS[:2], names[:2], **settings)


def test_no_point_of_the_plot_lies_in_a_legend(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    peers = importlib.import_module("benchmarks.peers")
    plot = importlib.import_module("benchmarks.plot")
    workloads = importlib.import_module("benchmarks.workloads")
    rows = [
        peers.Row(work, {"fastgrad": 1e-4}, {peer: 0.5 + 3 * (i % 7) for peer in plot.PEERS},
                  limit=1e-4 * (i % 5 + 1) / 5, bound=("fma", "L2", "L3", "memory")[i % 4])
        for i, work in enumerate(workloads.WORKS)
    ]  # fmt: skip
    drawn = []
    monkeypatch.setattr(plot, "_save", lambda figure, path: drawn.append(figure))
    plot.plot_rows(rows, 2, {"cpu": "a processor", "simd": "avx2"}, tmp_path / "p.svg")
    (figure,) = drawn
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend().get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert axes.get_xlabel() or axes.get_ylabel()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_processes_that_asv_forks_use_threads():
    code = (
        "import os, benchmarks.prepared, fastgrad._core.threads as t\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(0 if t.start_threads() else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0, 'serial in a child of a parent without threads'\n"
        "t.start_threads()\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(1 if t.start_threads() else 0)\n"
        "assert os.waitpid(pid, 0)[1] == 0, 'parallel in a child whose parent had threads'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_peer_without_numba_can_make_the_data():
    code = (
        "import sys; sys.modules['numba'] = sys.modules['fastgrad'] = None\n"
        "from benchmarks import workloads, worker, contenders\n"
        "print(len(workloads.data(workloads.WORKS[0])))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr[-2000:]


@pytest.mark.parametrize("held", [{}, {"NUMBA_CPU_NAME": "haswell"}])
def test_numpy_is_not_held_to_another_processors_kernels_unless_we_are(held):
    code = "import benchmarks, os; print(os.environ.get('OPENBLAS_CORETYPE'))"
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CPU_NAME"}
    env |= {"OPENBLAS_CORETYPE": "Haswell", **held}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == ("Haswell" if held else "None"), done.stderr[-2000:]
