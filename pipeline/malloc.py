"""Tunes the C allocator so that memory freed by one frame is reused by the next."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 512 << 20  # freed memory that is not returned to the kernel
LARGEST_BYTES = 32 << 20
"""Upper limit of glibc for ``M_MMAP_THRESHOLD``. Larger single arrays are still mapped and unmapped each time."""


def keep_freed_memory() -> None:
    """Make the C library keep up to ``KEPT_BYTES`` of freed memory. Applies to the whole process; cheap to call again.

    Every processing step allocates arrays of the picture's size. By default, glibc returns large ones to the kernel,
    and each new one is zeroed and faulted in page by page. Only glibc has this setting; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
