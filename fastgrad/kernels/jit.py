"""Every jit option, and where compiled kernels are kept: the one place for both.

`@kernel` makes a serial kernel, `@parallel_kernel` its twin with `prange`, `@inner` a function that
both may call, `@jitable` one that Python calls too. Nothing compiles at import. Machine code is
cached in one file a specialisation (`_CacheFiles`), named by a digest of everything it depends on:
signature, CPU name and features, Numba's version, the jit options and the sources of *all* kernels.
So no process ever reads another's half-written index, an upgraded helper is never missed, and a
damaged or unwritable cache costs a compilation, never an error.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import uuid
from pathlib import Path
from typing import ClassVar

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numba.extending import register_jitable

from .._startup import NO_COMPILER
from .._version import __version__
from .libraries import PartCompiler, PieceCompiler

# Exact IEEE semantics everywhere; sums that may be reordered say so in explicit vectors instead.
# `contract` alone is kept: a*b + c may be one rounding, as in the reference on every FMA machine.
OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract"}, boundscheck=False)


def digest_of(paths, also: str = "") -> str:
    """Of the names and texts of files."""
    digest = hashlib.sha256(also.encode())
    for path in sorted(paths):
        try:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        except OSError:  # a package without sources beside it: the versions must do
            pass
    return digest.hexdigest()


_HERE = Path(__file__).parent
SOURCES = [*_HERE.glob("*.py"), *(_HERE.parent / name for name in ("losses.py", "activations.py"))]
SOURCES_DIGEST = digest_of(SOURCES, f"{__version__} {numba.__version__}")

# Beside the package, not in it: what pip does not know of it leaves behind, and a folder `fastgrad`
# that holds nothing but a cache can be imported.
BESIDE = str(Path(__file__).parents[2] / ".fastgrad-cache")


class _BesideLocator(InTreeCacheLocator):
    """Beside the package, where that can be written to."""

    def get_cache_path(self):
        return BESIDE


class _ReadOnlyLocator(_BesideLocator):
    """Beside the package, as another user left it."""

    def ensure_cache_path(self):
        os.listdir(BESIDE)


class _Implementation(CompileResultCacheImpl):
    _locator_classes: ClassVar = [
        UserProvidedCacheLocator,
        _BesideLocator,
        UserWideCacheLocator,
        _ReadOnlyLocator,
    ]


class _CacheFiles:
    """One file a specialisation: no index, so no read-modify-write between processes.

    Read from every folder, written to the first.
    """

    def __init__(self, folders: list[str], base: str, digest: str):
        self._folders, self._base, self._digest = folders, base, digest

    def __contains__(self, key) -> bool:
        return any(map(os.path.exists, self._paths(key)))

    def _paths(self, key) -> list[str]:
        name = hashlib.sha256(repr((key, self._digest)).encode()).hexdigest()[:32]
        return [os.path.join(folder, f"{self._base}.{name}.nbc") for folder in self._folders]

    def load(self, key):
        return next(filter(None, map(self._read, self._paths(key))), None)

    def _read(self, path):
        try:
            with open(path, "rb") as file:
                digest, data = file.read(32), file.read()
            if hashlib.sha256(data).digest() != digest:
                return None
            return pickle.loads(data)
        except Exception:  # damaged, foreign or gone: compile again
            return None

    def save(self, key, data):
        data = pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL)
        path = self._paths(key)[0]
        temporary = f"{path}.{uuid.uuid4().hex[:12]}"
        try:
            with open(temporary, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(temporary, path)
        except OSError:  # full or read-only: the kernel works, the next process compiles again
            try:
                os.unlink(temporary)
            except OSError:
                pass


def _folders(path: str) -> list[str]:
    """Where to read: what is written to comes first."""
    return [path] if numba.config.CACHE_DIR or path == BESIDE else [path, BESIDE]


class _KernelCache(FunctionCache):
    """Numba's function cache over `_CacheFiles`; failures to read or write are not errors."""

    _impl_class = _Implementation

    def __init__(self, function, digest: str):
        super().__init__(function)
        self._cache_file = _CacheFiles(_folders(self._cache_path), self._impl.filename_base, digest)

    def holds(self, sig, target_context) -> bool:
        return self._index_key(sig, target_context.codegen()) in self._cache_file

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:
            pass


def routine_cache(name: str):
    """Where the machine code of a routine is kept; None where nothing is."""
    if os.environ.get("FASTGRAD_CACHE", "1") == "0":
        return None
    try:
        implementation = _Implementation(routine_cache)
    except (RuntimeError, OSError):
        return None
    return _CacheFiles(
        _folders(implementation.locator.get_cache_path()), f"routine.{name}", SOURCES_DIGEST
    )


def _attach_cache(dispatcher, digest: str = SOURCES_DIGEST) -> None:
    if os.environ.get("FASTGRAD_CACHE", "1") == "0":
        return
    try:
        dispatcher._cache = _KernelCache(dispatcher.py_func, digest)
    except (RuntimeError, OSError):  # no writable folder anywhere: run without a cache
        pass


def signature_of(args) -> tuple:
    """The types of a kernel's arguments."""
    return tuple(map(numba.typeof, args))


def place_of(dispatcher, args) -> str:
    """Where a kernel's machine code for arguments like these is: "memory", "disk" or "nowhere"."""
    signature = signature_of(args)
    if signature in dispatcher.overloads:
        return "memory"
    cache = dispatcher._cache
    stored = isinstance(cache, _KernelCache) and cache.holds(signature, dispatcher.targetctx)
    return "disk" if stored else "nowhere"


def _njit(**options):
    if numba.config.DISABLE_JIT:  # functions would stay Python's, which has no pointers and vectors
        raise ImportError(NO_COMPILER)
    return numba.njit(**options)


def inner(function):
    """A function that kernels call: compiled into its callers, so not cached itself."""
    options = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _njit(pipeline_class=PartCompiler, **options)(function)


def jitable(function):
    """A plain function that Python and kernels call alike."""
    return register_jitable(**OPTIONS)(function)


def pasted(function):
    """A plain function of a line or two: pasted into its callers, since one more to compile costs
    30 ms; of larger ones the copies would cost more."""
    return register_jitable(inline="always", **OPTIONS)(function)


def procedure_kernel(function):
    """What `routines.Procedure` compiles: kernels alone call it, so Python needs no wrapper."""
    options = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = _njit(pipeline_class=PieceCompiler, **options)(function)
    _attach_cache(dispatcher)
    return dispatcher


def kernel(function, sources=()):
    """A serial kernel that Python calls: cached, compiled at its first call.

    `sources`: the paths of files outside this folder whose functions it calls.
    """
    dispatcher = _njit(**OPTIONS)(function)
    _attach_cache(dispatcher, digest_of(sources, SOURCES_DIGEST) if sources else SOURCES_DIGEST)
    return dispatcher


class BriefKernel:
    """A kernel called with known types alone: keeps the GIL, or gives it up at a cost of 50 ns.

    `call` takes the types that `allow` has compiled it for; others are a TypeError or RuntimeError,
    never a compilation, not even while another thread compiles.
    """

    def __init__(self, function, nogil: bool):
        options = {**OPTIONS, "nogil": nogil}
        self._compiler = _njit(**options)(function)
        _attach_cache(self._compiler)
        self._lock = threading.Lock()
        self.call = _njit(**options)(function)  # a dispatcher that never compiles

    def allow(self, args) -> None:
        signature = signature_of(args)
        with self._lock:
            if signature not in self.call.overloads:
                self._compiler.compile(signature)
                self.call.add_overload(self._compiler.overloads[signature])
                self.call.disable_compile()  # before anybody knows that there is one


def brief_kernel(function):
    """For a few microseconds: it keeps the GIL."""
    return BriefKernel(function, nogil=False)


def long_kernel(function):
    return BriefKernel(function, nogil=True)


def parallel_kernel(function):
    """A kernel with a `prange` loop; its name must differ from its serial twin's."""
    dispatcher = _njit(parallel=True, **OPTIONS)(function)
    _attach_cache(dispatcher)
    return dispatcher
