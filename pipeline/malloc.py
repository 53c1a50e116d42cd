"""Memory that one frame gives back is kept for the next."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 512 << 20
LARGEST_BYTES = 32 << 20
"""The most that glibc takes; single arrays above that still come and go."""


def keep_freed_memory() -> None:
    """Have the C library hold on to freed memory, up to ``KEPT_BYTES``. For the whole process; cheap to call again.

    Every step on a picture makes arrays of its size. Left to itself, glibc gives large ones back to the kernel, and
    each new one is zeroed and faulted in page by page. Only glibc has this; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
