"""Every jit option, in one place.

`@kernel` makes a serial kernel, `@parallel_kernel` its twin with `prange`, `@inner` a function that
both may call, `@jitable` one that Python calls too. Nothing compiles at import. Machine code is
cached (`cache.py`) under a digest of everything it depends on, the sources of *all* kernels among
them.
"""

from __future__ import annotations

import threading

import numba
from numba.extending import register_jitable

from .._startup import NO_COMPILER
from .cache import KernelCache
from .folders import SOURCES_DIGEST, digest_of
from .libraries import PartCompiler, PieceCompiler

# Exact IEEE semantics everywhere; sums that may be reordered say so in explicit vectors instead.
# `contract` alone is kept: a*b + c may be one rounding, as in the reference on every FMA machine.
OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract"}, boundscheck=False)

kernels: list = []  # that Python calls


def _attach_cache(dispatcher, digest: str = SOURCES_DIGEST, linked: bool = False) -> None:
    dispatcher._cache = KernelCache(dispatcher.py_func, digest, linked)


def signature_of(args) -> tuple:
    """The types of a kernel's arguments."""
    return tuple(map(numba.typeof, args))


def place_of(dispatcher, args) -> str:
    """Where a kernel's machine code for arguments like these is: "memory", "disk" or "nowhere"."""
    signature = signature_of(args)
    if signature in dispatcher.overloads:
        return "memory"
    return "disk" if dispatcher._cache.holds(signature) else "nowhere"


def _njit(**options):
    if numba.config.DISABLE_JIT:  # functions would stay Python's, which has no pointers and vectors
        raise ImportError(NO_COMPILER)
    return numba.njit(**options)


def inner(function):
    """A function that kernels call: compiled into its callers, so not cached itself."""
    options = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _njit(pipeline_class=PartCompiler, **options)(function)


def inlined(function):
    """An `inner` that LLVM puts into each caller: for what takes dozens of arguments, whose passing
    takes 20 cycles."""
    options = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _njit(pipeline_class=PartCompiler, forceinline=True, **options)(function)


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


def kernel(function, sources=(), linked: bool = False):
    """A serial kernel that Python calls: cached, compiled at its first call.

    `sources`: the paths of files outside this folder whose functions it calls; `linked`: compiled
    code may call it by its name.
    """
    dispatcher = _njit(**OPTIONS)(function)
    digest = digest_of(sources, SOURCES_DIGEST) if sources else SOURCES_DIGEST
    _attach_cache(dispatcher, digest, linked)
    kernels.append(dispatcher)
    return dispatcher


def linked_kernel(function):
    """A serial kernel that a user's compiled code has linked into it."""
    return kernel(function, linked=True)


class BriefKernel:
    """A kernel called with known types alone: keeps the GIL, or gives it up at a cost of 50 ns.

    `call` takes the types that `allow` has compiled it for; others are a TypeError or RuntimeError,
    never a compilation, not even while another thread compiles.
    """

    def __init__(self, function, nogil: bool):
        options = {**OPTIONS, "nogil": nogil}
        self._compiler = _njit(**options)(function)
        _attach_cache(self._compiler)
        kernels.append(self._compiler)
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
    kernels.append(dispatcher)
    return dispatcher
