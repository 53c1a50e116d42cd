"""Number of CPU cores available to this process."""

from __future__ import annotations

import os
import sys


def usable_cores() -> int:
    """Return the number of cores this process may run on; ``taskset`` and containers can restrict it (Linux only)."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
