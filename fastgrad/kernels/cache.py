"""Machine code on disk: one file a specialisation, read from every place, written to one.

A file is named by a digest of everything its code depends on: signature, processor and features,
versions, the sources of *all* kernels (`folders.py`). There is no index, so no process ever reads
another's half-written one; an upgraded helper is never missed; a damaged file or a folder that
cannot be written to costs a compilation, never an error.

A file holds object code, and of a kernel what Numba needs to call it: no annotated sources, and
bitcode only of the few kernels that a user's `@njit` code has linked into it. A process that finds
its kernels does without Numba's own function library (`refresh`), whose import was most of a warm
first call: 0.35 s with SciPy, which it imports too, 0.2 s without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import uuid
import warnings
from collections import Counter

import llvmlite.binding
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.codegen import JITCodeLibrary
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target
from numba.core.runtime import _nrt_python

from .folders import SOURCES_DIGEST, places

# Of this process: kernels and routines "compiled", and loaded from the "cache" and the "wheel".
counts: Counter = Counter()
compiling: list = []  # called with a name before it is compiled


def note_compilation(name: str) -> None:
    counts["compiled"] += 1
    for call in list(compiling):
        call(name)


class Store:
    """The files of one function."""

    def __init__(self, base: str, digest: str = SOURCES_DIGEST):
        self._base, self._digest = base, digest

    def _path(self, place, signature) -> str:
        key = repr((signature, place.target, self._digest))
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return os.path.join(place.folder, f"{self._base}.{name}.nbc")

    def __contains__(self, signature) -> bool:
        return any(os.path.exists(self._path(place, signature)) for place in places())

    def load(self, signature):
        for place in places():
            entry = _read(self._path(place, signature))
            if entry is not None:
                counts["wheel" if place.in_wheel else "cache"] += 1
                return entry
        return None

    def save(self, signature, entry) -> None:
        place = places()[0] if places() else None
        if place and place.writable:
            _write(self._path(place, signature), entry)


def _read(path: str):
    try:
        with open(path, "rb") as file:
            digest, data = file.read(32), file.read()
        if hashlib.sha256(data).digest() != digest:
            return None
        return pickle.loads(data)
    except Exception:  # damaged, foreign or not there: compile
        return None


def _write(path: str, entry) -> None:
    data = pickle.dumps(entry, protocol=pickle.HIGHEST_PROTOCOL)
    temporary = f"{path}.{uuid.uuid4().hex[:12]}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, path)
    except OSError:  # full or read-only: the kernel works, the next process compiles again
        pass
    finally:
        with contextlib.suppress(OSError):  # by now it has another name
            os.unlink(temporary)


def code_of(library, names, linked: bool = False) -> tuple:
    """A library for a file; `names`: of its functions that are asked for by name; `linked`: other
    functions may be compiled together with them."""
    name, _, (code, bitcode) = library.serialize_using_object_code()
    defined = {f.name for f in library._get_module_for_linking().functions if not f.is_declaration}
    return name, code, [x for x in names if x in defined], bitcode if linked else None


class _Loaded(JITCodeLibrary):
    """A library whose bitcode is parsed when something is linked to it."""

    bitcode: bytes | None = None

    def _get_module_for_linking(self):
        if self._shared_module is None and self.bitcode:
            self._shared_module = llvmlite.binding.parse_bitcode(self.bitcode)
        return super()._get_module_for_linking()


def loaded_library(name: str, code: bytes, names, bitcode: bytes | None):
    """The library of `code_of`."""
    _know_runtime()
    codegen = cpu_target.target_context.codegen()
    library = _Loaded(codegen, name)
    library.bitcode = bitcode
    library.enable_object_caching()
    library._set_compiled_object(code)
    library._finalize_final_module()
    codegen._engine._defined_symbols.update(names)
    return library


def _know_runtime(known=[]) -> None:  # noqa: B006 - once a process
    """Numba's runtime, by the names that machine code has for it."""
    if not known:
        for name, address in _nrt_python.c_helpers.items():
            llvmlite.binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
        known.append(True)


class KernelCache(_Cache):
    """What a dispatcher of Numba's asks before it compiles."""

    def __init__(self, function, digest: str, linked: bool):
        self._linked = linked
        code = function.__code__
        module = function.__module__.rpartition(".")[2]
        self._name = f"{module}.{function.__qualname__}".replace("<", "").replace(">", "")
        self._store = Store(f"{self._name}-{code.co_firstlineno}", digest)

    @property
    def cache_path(self):
        return next((place.folder for place in places() if place.writable), None)

    def holds(self, signature) -> bool:
        return signature in self._store

    def load_overload(self, sig, target_context):
        """The compiled kernel, if there is one; else Numba compiles it."""
        try:
            entry = self._store.load(sig)
            if entry is not None:
                return _rebuilt(target_context, *entry)
        except Exception:
            pass
        note_compilation(self._name)
        return None

    def save_overload(self, sig, data) -> None:
        if data.library.has_dynamic_globals or data.lifted:
            warnings.warn(f"{self._name} holds addresses: not cached", NumbaWarning, stacklevel=2)
            return
        self._store.save(sig, _reduced(data, self._linked))

    def enable(self):
        pass

    def disable(self):
        pass

    def flush(self):
        pass


def _reduced(compiled, linked: bool) -> tuple:
    """A compiled kernel for a file."""
    about = compiled.fndesc
    names = about.llvm_func_name, about.llvm_cpython_wrapper_name, about.llvm_cfunc_wrapper_name
    code = code_of(compiled.library, names, linked)
    about.typemap = about.calltypes = None
    environments = tuple(compiled._find_referenced_environments())
    return (
        code, about, compiled.environment, compiled.signature, compiled.objectmode,
        compiled.reload_init, environments,
    )  # fmt: skip


def _rebuilt(context, code, about, environment, signature, objectmode, init, environments):
    for call in init:
        call()
    library = loaded_library(*code)
    entry = context.get_executable(library, about, environment)
    for other in environments:
        library.codegen.set_env(other.env_name, other)
    return compiler.compile_result(
        typing_context=context.typing_context,
        target_context=context,
        entry_point=entry,
        library=library,
        environment=environment,
        fndesc=about,
        signature=signature,
        objectmode=objectmode,
        lifted=(),
        reload_init=init,
        referenced_envs=environments,
        type_annotation="",
    )
