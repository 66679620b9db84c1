"""What the C library does with memory that is freed."""

import ctypes

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -4, -1, -2, -3
"""Options of glibc's `mallopt` (see its manual page)."""


def keep_freed_memory() -> bool:
    """From here on, memory that is freed stays with the process, to be used again. False where the C library has no such option.

    By default glibc gives every large tensor back to the system when it is freed, and each step asks for all of them again, zeroed, page
    by page: half a million page faults a step of 7,500 tokens with 25M parameters, a fifth of its time; what
    is computed does not change.
    """
    return _mallopt((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 2**26))


def give_back_freed_memory() -> bool:
    """From here on every tensor of a megabyte or more is given back when it is freed, as glibc does until it has seen large ones come and
    go: it then keeps those below 32 MiB, in pieces. Slower, and the process holds what it needs. False as above."""
    return _mallopt((MMAP_THRESHOLD, 2**20))


def _mallopt(*options: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(option, value) for option, value in options])
