"""Memory that a program frees and soon wants again."""

from __future__ import annotations

from contextlib import suppress
import ctypes
import gc
import platform

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> None:
    """
    Let glibc keep what one step has freed for the next one, as long as the process lives.

    As it is, each large array is mapped anew, and the kernel clears its pages: on a virtual
    machine that can take longer than the step.  Threads that begin after this share one heap, as
    what one of them keeps is of no use to another: the sooner it is called, the better.
    :func:`give_back_memory` gives back what is kept.
    """
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2 ** 31 - 1),
                            (_M_TOP_PAD, 2 ** 28), (_M_ARENA_MAX, 1)):
            libc.mallopt(name, value)


def give_back_memory(collect: bool = True) -> None:
    """
    Return to the kernel what nobody uses any more, where the C library can (glibc).

    :param collect: look for unused cycles of objects before; that takes a tenth of a second.
    """
    if collect:
        gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
