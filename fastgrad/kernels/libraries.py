"""How LLVM sees the pieces that Numba compiles: each is optimised once, where it is called from.

Numba optimises a function and makes machine code of it before it links it into its callers, where
it is optimised again. A `Part` is linked as it was written; the `Piece` that ends up with it, a
procedure or a routine, is optimised in full, without the passes that Numba runs first to prune
reference counts: there are none in kernels. The first gradient compiles in 0.8 of the time.
"""

from __future__ import annotations

import llvmlite.binding as ll
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_ENVIRONMENT = "_ZN08NumbaEnv"


class Piece(JITCodeLibrary):
    """Optimised by the full passes alone."""

    def _optimize_final_module(self):
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class Part(JITCodeLibrary):
    """Linked into others, and no machine code by itself."""

    def finalize(self):
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True
        # Numba writes to these variables, so that they must be somewhere.
        names = [value.name for value in self._final_module.global_variables]
        text = "\n".join(
            f'@"{name}" = common global ptr null' for name in names if name.startswith(_ENVIRONMENT)
        )
        module = ll.parse_assembly(text)
        module.name = self.name
        self._codegen._add_module(module)
        self._codegen._engine.finalize_object()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0


def _compiler(library):
    class Into(Compiler):
        """Numba's compiler, into this kind of library."""

        def compile_extra(self, func):
            self.state.library = library(self.state.targetctx.codegen(), func.__qualname__)
            self.state.library.enable_object_caching()
            return super().compile_extra(func)

    return Into


PartCompiler, PieceCompiler = _compiler(Part), _compiler(Piece)
