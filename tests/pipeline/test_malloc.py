import subprocess
import sys

import pytest

from tests.conftest import ROOT

FRAMES = """
import resource, sys
import numpy as np
from pipeline.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def frame():
    return sum(float(array[0]) for array in [np.ones(1 << 19) for _ in range(4)])
for _ in range(3):
    frame()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    frame()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FRAMES, how], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no such choice")
def test_freed_memory_is_reused_by_the_next_frame():
    """Each frame allocates four arrays of 4 MiB: 1,024 pages each, or a few huge pages."""
    assert faults("keep") <= faults("leave") / 10
