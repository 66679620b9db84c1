"""Freed memory is kept: the second time, large tensors cost no page faults."""

import subprocess
import sys

import pytest

PROBE = """
import resource, sys
from instil.train.heap import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else True
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(int(kept), min(faults() for _ in range(3)))
"""


def _probe(mode: str) -> tuple[int, int]:
    said = subprocess.run([sys.executable, "-c", PROBE, mode], capture_output=True, text=True, check=True).stdout
    kept, faults = said.split()
    return int(kept), int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's option")
def test_freed_memory_is_used_again() -> None:
    kept, faults = _probe("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert faults < 100, "64 MiB were asked for anew"
    assert _probe("default")[1] > 1000, "without the option they are, so this test can fail"
