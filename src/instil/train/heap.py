"""What the C library does with memory that is freed."""

import ctypes

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Options of glibc's `mallopt` (see its manual page)."""


def keep_freed_memory() -> bool:
    """From here on, memory that is freed stays with the process, to be used again. False where the C library has no such option.

    By default glibc gives every large tensor back to the system when it is freed, and each step asks for all of them again, zeroed, page
    by page: half a million page faults a step of 7,500 tokens with 25M parameters, a fifth of its time; what
    is computed does not change.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(MMAP_MAX, 0), mallopt(TRIM_THRESHOLD, 2**31 - 1), mallopt(TOP_PAD, 2**26)])
