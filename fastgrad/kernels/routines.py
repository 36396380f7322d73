"""Routines: functions written in LLVM, each compiled once a dtype and called by its address.

In: a function's LLVM types and a body that writes it with a builder. Out: something that kernels
call like a function. Linked into a kernel, a routine would be optimised again with every kernel
that links that one. So a kernel loads the routine's address from a cell instead, which it finds by
a symbol's name, since cached machine code meets other addresses in every process. An empty cell
calls into Python (which takes the GIL), where the routine is loaded from the cache or compiled:
what no call needs is never compiled. The load costs 1 ns; a step compiles in half the time.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
import traceback

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, fastmathpass, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu_options import FastMathOptions
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .cache import Store, code_of, loaded_library, note_compilation
from .jit import OPTIONS, procedure_kernel
from .libraries import Piece
from .simd import I64, VOID, llvm_arguments

_RESOLVER = "fastgrad_resolver"
_by_cell: dict = {}  # (routine or procedure, dtype) by the cell's address
_tables: dict = {}  # cells, and machine code, live as long as the process
_libraries: list = []
_at_work: set = set()  # what is being loaded or compiled
_MOST_CODES = 32


REALS = types.float32, types.float64


class _Code:
    """Machine code for each dtype, and the cells with its addresses, filled when first wanted."""

    def __init__(self, name: str, cells: np.ndarray):
        """cells: (2,) of int64, one for each dtype."""
        self.name, self._cells = name, cells
        for real, place in zip(REALS, cells.strides[0] * np.arange(2) + cells.ctypes.data):
            _by_cell[int(place)] = self, real

    def symbol(self, real) -> str:
        return f"fastgrad_{self.name}_{'f32' if real == types.float32 else 'f64'}"

    @global_compiler_lock
    def resolve(self, real) -> int:
        """Load the machine code, or compile it, and fill its cell; its address."""
        index = REALS.index(real)
        if not self._cells[index]:
            _at_work.add(self)
            try:
                with _without_collections():
                    self._cells[index] = self._compile(real)
            finally:
                _at_work.discard(self)
        return int(self._cells[index])


@contextlib.contextmanager
def _without_collections():
    """Compiling makes so many objects that Python would look for garbage among all that Numba keeps
    again and again: a tenth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resolve_all() -> None:
    """Load or compile every routine and procedure, for both dtypes: for a wheel."""
    for code, real in list(_by_cell.values()):
        code.resolve(real)


def _own_cells(name: str) -> np.ndarray:
    """Cells that kernels find by the symbol `name` with the dtype behind it."""
    return _table(name, 1)[:, 0]


def _table(name: str, size: int) -> np.ndarray:
    assert name not in _tables, f"two routines are named {name}"
    cells = np.zeros((2, size), np.int64)
    for suffix, row in zip(("f32", "f64"), cells):
        llvmlite.binding.add_symbol(f"fastgrad_{name}_{suffix}_at", row.ctypes.data)
    _tables[name] = cells
    return cells


def _cell(builder, name: str, real, index=None):
    suffix = "f32" if real == types.float32 else "f64"
    first = _external(builder, f"fastgrad_{name}_{suffix}_at")
    return first if index is None else builder.gep(first, [index])


class Routine(_Code):
    """`body(elem)` writes the function whose argument types are `kinds(elem)`."""

    def __init__(self, name: str, result: ir.Type, kinds, body, cells=None):
        super().__init__(name, _own_cells(name) if cells is None else cells)
        self.result, self.kinds, self.body = result, kinds, body

    def call(self, builder, elem, values):
        kind = ir.FunctionType(self.result, self.kinds(elem))
        return _call_cell(builder, _cell(builder, self.name, _real(elem)), kind, values)

    def _compile(self, real) -> int:
        name = self.symbol(real)
        store = Store(f"routine.{name}")
        code = store.load(name)
        if code is None:
            note_compilation(name)
            library = self._library(_elem(real))
            store.save(name, code_of(library, [name]))
        else:
            library = loaded_library(*code)
        _libraries.append(library)
        return library.get_pointer_to_function(name)

    @global_compiler_lock
    def _library(self, elem):
        codegen, name = cpu_target.target_context.codegen(), self.symbol(_real(elem))
        library = Piece(codegen, name)
        library.enable_object_caching()
        module = library.create_ir_module(name)
        function = ir.Function(module, ir.FunctionType(self.result, self.kinds(elem)), name)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.body(elem)(builder, *function.args)
        fastmathpass.rewrite_module(module, FastMathOptions(OPTIONS["fastmath"]))
        library.add_ir_module(module)
        library.finalize()
        return library

    def assembly(self, elem) -> str:
        """For tests."""
        return self._library(elem).get_asm_str()


def _elem(real) -> ir.Type:
    return ir.FloatType() if real == types.float32 else ir.DoubleType()


def _real(elem):
    return types.float32 if isinstance(elem, ir.FloatType) else types.float64


class RoutineTable:
    """Routines of one type, called by their codes: the rows of a table of formulas."""

    def __init__(self, name: str, result: ir.Type, kinds):
        self.name, self.result, self.kinds = name, result, kinds
        self._cells, self._rows = _table(name, _MOST_CODES), []

    def add(self, name: str, body) -> int:
        """The code of one more row."""
        code = len(self._rows)
        cells = self._cells[:, code]
        self._rows.append(Routine(f"{self.name}_{name}", self.result, self.kinds, body, cells))
        return code

    def call(self, builder, elem, code, values):
        kind = ir.FunctionType(self.result, self.kinds(elem))
        return _call_cell(builder, _cell(builder, self.name, _real(elem), code), kind, values)


class Procedure(_Code):
    """A Numba function of records, pointers and numbers, compiled by itself."""

    def __init__(self, function, result, arguments):
        super().__init__(function.__name__, _own_cells(function.__name__))
        self.result, self.arguments = result, arguments
        self._dispatcher = procedure_kernel(function)

    def _compile(self, real) -> int:
        signature = self.arguments(real)
        self._dispatcher.compile(signature)
        compiled = self._dispatcher.overloads[signature]
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

    def call(self, context, builder, real, values):
        kinds, convention = self.arguments(real), context.call_conv
        kind = convention.get_function_type(self.result, kinds)
        address = _resolved(builder, _cell(builder, self.name, real))
        function = builder.inttoptr(address, kind.as_pointer())
        status, result = convention.call_function(builder, function, self.result, kinds, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result


def _external(builder, name: str):
    module = builder.module
    if name not in module.globals:
        ir.GlobalVariable(module, I64, name)
    return module.globals[name]


def _resolved(builder, cell):
    """What is in a cell, once it is filled; a resolver that left it empty is told so."""
    before = builder.block
    look, ask, known = (builder.append_basic_block(x) for x in ("look", "ask", "known"))
    builder.branch(look)
    builder.position_at_end(look)
    again = builder.phi(I64)
    again.add_incoming(I64(0), before)
    again.add_incoming(I64(1), ask)
    address = builder.load(cell)
    missing = builder.icmp_unsigned("==", address, I64(0))
    builder.cbranch(missing, ask, known).set_weights([1, 99])
    builder.position_at_end(ask)
    resolver = builder.load(_external(builder, _RESOLVER))
    kind = ir.FunctionType(VOID, [I64, I64]).as_pointer()
    builder.call(builder.inttoptr(resolver, kind), [builder.ptrtoint(cell, I64), again])
    builder.branch(look)
    builder.position_at_end(known)
    return address


def _call_cell(builder, cell, kind: ir.FunctionType, values):
    return builder.call(builder.inttoptr(_resolved(builder, cell), kind.as_pointer()), values)


def _interrupt_later():
    """Once `_resolve`, out of which ctypes lets no exception, has not been at work for a while."""
    quiet = 0
    while quiet < 3:
        time.sleep(0.02)
        quiet = 0 if _at_work else quiet + 1
    if hasattr(signal, "pthread_kill") and callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # it ends a sleep too
    else:
        _thread.interrupt_main()


@contextlib.contextmanager
def _held_back(interrupted: list):
    """Ctrl-C is noted, not raised: it would leave LLVM in the midst of its work."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
def _resolve(cell, again):
    """Kernels cannot go on without the routine: Ctrl-C waits for it, other errors end it all.

    `again`: Ctrl-C ended the call before this one, at a place where it could not be caught.
    """
    interrupted = [True] if again else []
    while True:
        try:
            routine, real = _by_cell[cell]
            with _held_back(interrupted):
                routine.resolve(real)
            break
        except KeyboardInterrupt:
            interrupted.append(True)
        except BaseException:
            traceback.print_exc()
            print(f"fastgrad: {routine.name} could not be compiled", file=sys.stderr, flush=True)
            os.abort()
    if interrupted:
        _thread.start_new_thread(_interrupt_later, ())


_resolver = np.array([ctypes.cast(_resolve, ctypes.c_void_p).value], np.int64)
llvmlite.binding.add_symbol(_RESOLVER, _resolver.ctypes.data)

_RESULTS = {VOID: types.void, ir.DoubleType(): types.float64}


def _named(name: str, arguments, typed, doc: str):
    """An intrinsic with these argument names, since Numba wants to see each: typed(their types)."""
    names, scope = ", ".join(arguments), {"typed": typed}
    exec(f"def {name}(typingctx, {names}):\n    return typed(({names},))", scope)
    scope[name].__doc__ = doc
    return intrinsic(scope[name])


def _real_of(kinds):
    """The dtype that the arguments of a call are for."""
    for kind in kinds:
        real = getattr(kind, "real", None) or getattr(kind, "dtype", None)
        if real in (types.float32, types.float64):
            return real
    raise TypingError(f"no argument of {kinds} has a dtype")


def routine(name: str, arguments: str, result: ir.Type, kinds, body, doc: str):
    """A `Routine` as an intrinsic: kernels call it with pointers and numbers, which are cast.

    `arguments`: their names; `kinds`: of a pointer to the element type, a list of LLVM types.
    """
    made = Routine(name, result, lambda elem: kinds(elem.as_pointer()), body)

    def typed(args):
        def codegen(context, builder, signature, values):
            elem = _elem(_real_of(signature.args))
            values = llvm_arguments(context, builder, signature, values, made.kinds(elem))
            value = made.call(builder, elem, values)
            return context.get_dummy_value() if result == VOID else value

        return _RESULTS[result](*args), codegen

    return _named(name, arguments.split(), typed, doc)


def table(name: str, arguments: str, result: ir.Type, kinds, doc: str):
    """(a `RoutineTable`, its intrinsic): as `routine`, with the code as the first argument."""
    made = RoutineTable(name, result, lambda elem: kinds(elem.as_pointer()))

    def typed(args):
        def codegen(context, builder, signature, values):
            elem = _elem(_real_of(signature.args))
            code = context.cast(builder, values[0], signature.args[0], types.int64)
            given = types.void(*signature.args[1:])
            rest = llvm_arguments(context, builder, given, values[1:], made.kinds(elem))
            value = made.call(builder, elem, code, rest)
            return context.get_dummy_value() if result == VOID else value

        return _RESULTS[result](*args), codegen

    return made, _named(name, ["code", *arguments.split()], typed, doc)


def procedure(result, arguments):
    """A decorator: a function of `arguments(real)`, types of Numba, as a `Procedure` that kernels
    call by its name; numbers are cast."""

    def decorate(function):
        made = Procedure(function, result, arguments)

        def typed(args):
            def codegen(context, builder, signature, values):
                real = _real_of(signature.args)
                kinds = arguments(real)
                values = [
                    context.cast(builder, value, given, kind)
                    for value, given, kind in zip(values, signature.args, kinds)
                ]
                return made.call(context, builder, real, values)

            return result(*args), codegen

        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        called = _named(function.__name__, names, typed, function.__doc__)
        called.procedure = made
        return called

    return decorate
