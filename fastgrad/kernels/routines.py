"""Routines: functions written in LLVM, each compiled once a dtype and called by its address.

In: a function's LLVM types and a body that writes it with a builder. Out: something that kernels
call like a function. A kernel that links a routine would optimise it again, with every kernel that
links that one; so a kernel holds a load of the routine's address instead, from a cell that it finds
by a symbol's name, since machine code that was cached meets another address in every process. Where
the cell is still empty, a call into Python (which takes the GIL) loads the routine or compiles it:
what no call needs is never compiled. The load costs 1 ns, the compilation of a step half.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, fastmathpass, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu_options import FastMathOptions
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .jit import OPTIONS, library_store
from .simd import I64, VOID, element_type, llvm_arguments, name_of

_RESOLVER = "fastgrad_resolver"
_by_cell: dict = {}  # (routine, its element type) by the cell's address
_libraries: list = []  # machine code lives as long as the process


class Routine:
    """`body(elem)` writes the function whose argument types are `kinds(elem)`, for each dtype."""

    def __init__(self, name: str, result: ir.Type, kinds, body):
        self.name, self.result, self.kinds, self.body = name, result, kinds, body
        self._cells = np.zeros(2, np.int64)
        for index, elem in enumerate((ir.FloatType(), ir.DoubleType())):
            cell = self._cells.ctypes.data + 8 * index
            _by_cell[cell] = self, elem
            llvmlite.binding.add_symbol(f"{self._symbol(elem)}_address", cell)

    def _symbol(self, elem) -> str:
        return f"fastgrad_{self.name}_{name_of(elem)}"

    def function_type(self, elem) -> ir.FunctionType:
        return ir.FunctionType(self.result, self.kinds(elem))

    def pointer(self, builder, elem):
        """The routine, to be called."""
        cell = _external(builder, f"{self._symbol(elem)}_address")
        address = cgutils.alloca_once_value(builder, builder.load(cell))
        builder.store(builder.load(cell), address)
        missing = builder.icmp_unsigned("==", builder.load(address), I64(0))
        with builder.if_then(missing, likely=False):
            resolver = builder.load(_external(builder, _RESOLVER))
            kind = ir.FunctionType(VOID, [I64]).as_pointer()
            builder.call(builder.inttoptr(resolver, kind), [builder.ptrtoint(cell, I64)])
            builder.store(builder.load(cell), address)
        return builder.inttoptr(builder.load(address), self.function_type(elem).as_pointer())

    def call(self, builder, elem, values):
        return builder.call(self.pointer(builder, elem), values)

    @global_compiler_lock
    def resolve(self, elem) -> None:
        """Load the routine, or compile it, and fill its cell."""
        index = 0 if isinstance(elem, ir.FloatType) else 1
        if self._cells[index]:
            return
        codegen, name = cpu_target.target_context.codegen(), self._symbol(elem)
        store, key = library_store(self.name), (name, codegen.magic_tuple())
        saved = store and store.load(key)
        if saved:
            library = codegen.unserialize_library(saved)
        else:
            library = codegen.create_library(name)
            library.enable_object_caching()
            module = library.create_ir_module(name)
            function = ir.Function(module, self.function_type(elem), name)
            builder = ir.IRBuilder(function.append_basic_block("entry"))
            self.body(elem)(builder, *function.args)
            fastmathpass.rewrite_module(module, FastMathOptions(OPTIONS["fastmath"]))
            library.add_ir_module(module)
            library.finalize()
            if store:
                store.save(key, library.serialize_using_object_code())
        _libraries.append(library)
        self._cells[index] = library.get_pointer_to_function(name)


def _external(builder, name: str):
    module = builder.module
    if name not in module.globals:
        ir.GlobalVariable(module, I64, name)
    return module.globals[name]


@ctypes.CFUNCTYPE(None, ctypes.c_int64)
def _resolve(cell):
    """Kernels cannot go on without the routine: Ctrl-C comes after it, other errors end it all."""
    routine, elem = _by_cell[cell]
    interrupted = False
    while True:
        try:
            routine.resolve(elem)
            break
        except KeyboardInterrupt:
            interrupted = True
        except BaseException:
            traceback.print_exc()
            print(f"fastgrad: {routine.name} could not be compiled", file=sys.stderr, flush=True)
            os.abort()
    if interrupted:
        signal.raise_signal(signal.SIGINT)


_resolver = np.array([ctypes.cast(_resolve, ctypes.c_void_p).value], np.int64)
llvmlite.binding.add_symbol(_RESOLVER, _resolver.ctypes.data)

_RESULTS = {VOID: types.void, ir.DoubleType(): types.float64}


def routine(name: str, arguments: str, result: ir.Type, kinds, body, doc: str):
    """A `Routine` as an intrinsic: kernels call it with pointers and numbers, which are cast.

    `arguments`: their names; `kinds`: of a pointer to the element type, a list of LLVM types.
    """
    made = Routine(name, result, lambda elem: kinds(elem.as_pointer()), body)

    def typed(args):
        def codegen(context, builder, signature, values):
            elem = element_type(next(a for a in signature.args if isinstance(a, types.CPointer)))
            values = llvm_arguments(context, builder, signature, values, made.kinds(elem))
            result = made.call(builder, elem, values)
            return context.get_dummy_value() if made.result == VOID else result

        return _RESULTS[made.result](*args), codegen

    # Numba wants to see each argument.
    names, scope = ", ".join(arguments.split()), {"typed": typed}
    exec(f"def {name}(typingctx, {names}):\n    return typed(({names},))", scope)
    scope[name].__doc__ = doc
    return intrinsic(scope[name])
