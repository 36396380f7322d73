"""The short way from Python into a kernel, opened by the calls that took the long one.

The long way checks each argument in Python; the short one (`kernels.quick`) does so in compiled
code and calls the kernel by its address. It is open for the types of arguments it was compiled for
and nothing else, and refuses what does not fit: then the long way says what is wrong.
"""

from __future__ import annotations

from .. import runtime
from ..kernels.calls import address_of

SHUT = (TypeError, RuntimeError)  # what a call for which the way is not open ends with


class ShortWay:
    """Into one pair of kernels, for one set of argument types.

    A plan that is not parallel is called by `brief`, at `address`; a parallel one by `launch`.
    `leading`: like what the parallel kernel takes before the serial one's arguments.
    """

    def __init__(self, serial, parallel, brief, shared, leading=()):
        self._serial, self._parallel, self._leading = serial, parallel, leading
        self._brief, self._shared = brief, shared
        self._addresses = [0, 0]  # for parallel plans: of the serial and the parallel kernel
        self.address = 0

    def open(self, plan, args, *given) -> bool:
        """For plans like this one, under the rules of `runtime.launch` as they are now.

        args: of the kernel; given: one or several tuples of arguments of `kernels.quick`, but for
        the address and the threads. False if it cannot be opened.
        """
        if not plan.parallel:
            if not self.address:
                address = address_of(self._serial, args)
                for arguments in given:
                    self._brief.allow((address, *arguments))
                self.address = address
        elif not self._addresses[runtime.sharing()]:
            if not runtime.start_threads():
                return False
            address = address_of(self._serial, args)
            for arguments in given:
                self._shared.allow((address, address, 1, *arguments))
            if runtime.sharing():
                self._addresses[1] = address_of(self._parallel, (*self._leading, *args))
            self._addresses[0] = address
        return True

    def launch(self, args):
        """A parallel plan's step, by the rules of `runtime.launch`; one of SHUT if it is not open
        for them, or if another thread has the threads."""
        serial, parallel = self._addresses
        threads = runtime.take_threads()
        if threads > 1:
            try:
                if parallel:
                    return self._shared.call(serial, parallel, threads, *args)
            finally:
                runtime.return_threads()
        elif threads and serial:
            return self._shared.call(serial, serial, 0, *args)
        raise TypeError("no call of this kind took the long way yet, or the threads are taken")
