"""Keep memory that was freed, for the next tensor of the same network."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as malloc.h of the GNU C library numbers them

KEPT = 256 * 2**20
"""Bytes of free memory that go back to the system only beyond this: the features of a network of
usual size. Left to itself, the library keeps twice the largest block, 22 MB for 40 x 56 x 40
voxels, and the system clears 7000 pages anew for each forward pass (a tenth of its CPU time)."""

BLOCK = 32 * 2**20
"""Larger blocks go back at once. The most that the library allows."""


def keep_freed_memory() -> None:
    """Ask the C library to; others than GNU's are left as they are."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(TRIM_THRESHOLD, KEPT)
        library.mallopt(MMAP_THRESHOLD, BLOCK)
