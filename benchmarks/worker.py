"""Both ends of a peer's process: `Worker` starts and asks it, `serve` runs in it.

Pickles with a length before each go over stdin and stdout. A worker holds one work at a time, runs
a turn when told to, and sleeps on the pipe otherwise.
"""

from __future__ import annotations

import gc
import glob
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ROOT = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
MODULES = {"torch.compile": "torch", "torch.autotuned": "torch"}  # of peers named otherwise

# The tree comes last on the path: an installed fastgrad, such as asv's of a commit, goes before it.
# But `benchmarks` is the tree's: Opacus installs a package of that name.
_SERVE = """
import sys
sys.path = sys.argv[1:2] + [p for p in sys.path if p]
from benchmarks.worker import serve
sys.path.append(sys.path.pop(0))
serve(sys.argv[2], int(sys.argv[3]))
"""


def _send(stream, message) -> None:
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<q", len(payload)) + payload)
    stream.flush()


def _receive(stream):
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError("the process ended")
    return pickle.loads(stream.read(struct.unpack("<q", header)[0]))


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker with that many threads, whatever library it runs."""
    multi = "true" if threads > 1 else "false"
    return {
        **os.environ,
        **{variable: str(threads) for variable in THREAD_VARIABLES},
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={multi}",
        "JAX_PLATFORMS": "cpu",
    }


@contextmanager
def one_at_a_time():
    """Held by one run of the benchmarks on this machine: two that overlap take turns."""
    if fcntl is None:
        yield
        return
    with open(os.path.join(tempfile.gettempdir(), "fastgrad-benchmarks.lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Worker:
    """A peer in a process of its own; `tree`: the fastgrad of another checkout, under this name."""

    def __init__(
        self, peer: str, threads: int, python: str = sys.executable, quiet: bool = True, tree=None
    ):
        self.peer, variables = peer, environment(threads)
        if tree is not None:
            peer, variables["PYTHONPATH"] = "fastgrad", str(tree)
        self._process = subprocess.Popen(
            [python, "-c", _SERVE, str(ROOT), peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env=variables,
        )

    def ask(self, *message):
        """("ok", answer), ("skip", why) or ("error", why); never an exception."""
        try:
            _send(self._process.stdin, message)
            return _receive(self._process.stdout)
        except (EOFError, OSError) as error:
            return "error", f"{type(error).__name__}: {error}"

    def close(self) -> None:
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def others() -> dict[str, int]:
    """Nanoseconds that each other process's threads have run (Linux; else nothing)."""
    ran, own = {}, f"/proc/{os.getpid()}/"
    for path in glob.glob("/proc/[0-9]*/task/*/schedstat"):
        if not path.startswith(own):
            try:
                with open(path) as file:
                    ran[path] = int(file.read().split()[0])
            except (OSError, IndexError, ValueError):
                pass
    return ran


def turn(step, seconds: float) -> tuple[float, float]:
    """Seconds of a call, and the processors that other processes kept busy meanwhile.

    The lower quartile of chunks of calls, since what disturbs a chunk only adds to it; after a few
    unmeasured calls that bring the caches and the thread pool back from the other workers' turns.
    """
    clock = time.perf_counter
    before, since = others(), clock()
    gc.disable()
    try:
        began, warm = clock(), 0
        while warm < 1 or (warm < 200 and clock() - began < seconds / 4):
            start = clock()
            step()
            last = clock() - start
            warm += 1
        number = max(1, int(seconds / 8 / max(last, 1e-9)))
        chunks = []
        began = clock()
        while len(chunks) < 2 or (clock() - began < seconds and len(chunks) < 64):
            start = clock()
            for _ in range(number):
                step()
            chunks.append((clock() - start) / number)
    finally:
        gc.enable()
    elapsed, after = clock() - since, others()
    busy = sum(after[task] - before[task] for task in after.keys() & before.keys())
    return sorted(chunks)[len(chunks) // 4], busy / 1e9 / elapsed


def versions(peer: str) -> str:
    """What the peer is, for the table's foot."""
    from importlib.metadata import version

    packages = {**MODULES, "sklearn": "scikit-learn"}
    packages |= {name: f"{name}-for-pytorch" for name in ("curvlinops", "backpack")}
    package = packages.get(peer, peer)
    if peer == "numpy":
        return f"numpy {version(package)}{_blas()}"
    if package != "fastgrad":
        return f"{peer} {version(package)}"
    import fastgrad

    return f"fastgrad {fastgrad.__version__}"


def _blas() -> str:
    """Which processor's kernels NumPy's BLAS runs, where threadpoolctl is there to ask."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    import numpy  # noqa: F401  # which loads it

    kernels = {pool.get("architecture") for pool in threadpool_info()} - {None}
    return f" (BLAS: {', '.join(sorted(kernels))})" if kernels else ""


class _Server:
    def __init__(self, peer: str, threads: int):
        self.peer, self.threads, self.step = peer, threads, None

    def hello(self):
        __import__(MODULES.get(self.peer, self.peer))
        return versions(self.peer)

    def prepare(self, work):
        """Data, compilation, and the result of a first step."""
        from .contenders import contender
        from .workloads import data

        self.step = None
        gc.collect()
        theta, X, y = data(work)
        self.step, read = contender(self.peer, work)(work, theta, X, y, self.threads)
        return read(self.step())

    def turn(self, seconds):
        return turn(self.step, seconds)

    def turns(self, works, seconds, rounds):
        """Seconds of each work, the works taken in turn."""
        from .contenders import contender
        from .workloads import data

        steps = [contender(self.peer, work)(work, *data(work), self.threads)[0] for work in works]
        for step in steps:
            step()
        return [[turn(step, seconds)[0] for step in steps] for _ in range(rounds)]

    def drop(self):
        self.step = None
        gc.collect()

    def roofline(self):
        from .roofline import measure

        return measure(self.threads)

    def config(self):
        import fastgrad

        return fastgrad.config()


def serve(peer: str, threads: int) -> None:
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not enter the pipe
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if threads < len(allowed):
            os.sched_setaffinity(0, allowed[-threads:])
    server = _Server(peer, threads)
    while True:
        try:
            name, *args = _receive(sys.stdin.buffer)
        except EOFError:
            return
        from .contenders import NotApplicable

        try:
            answer = "ok", getattr(server, name)(*args)
        except NotApplicable:
            answer = "skip", "no such work"
        except ModuleNotFoundError as error:
            answer = "skip", f"{error.name} is not installed"
        except Exception as error:
            answer = "error", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        _send(pipe, answer)
