"""Memory that was freed stays with the process, so that it is not cleared again."""

import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
import numpy as np
from nnseg_core.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def work():
    blocks = [np.ones(2**20, dtype=np.float64) for _ in range(12)]  # 8 MB each

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", MEASURE, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no mallopt")
def test_the_same_memory_is_used_again():
    assert faults("kept") < faults("left") / 4
