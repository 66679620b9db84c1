"""Freed memory is kept, so that large tensors cost no page faults the second time; or it is given back."""

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


HELD = """
import sys
from instil.train.heap import give_back_freed_memory
if sys.argv[1] == "give":
    give_back_freed_memory()
def held():
    return int(open("/proc/self/statm").read().split()[1]) >> 8
b"x" * (30 << 20)  # glibc has now seen one come and go
before, kept = held(), []
for _ in range(8):
    kept.append(b"x" * (16 << 20))
    kept.append(b"y" * 200_000)
del kept[0:15:2]
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's option")
def test_freed_memory_is_given_back() -> None:
    """MiB that are still held after eight tensors between smaller things were freed."""
    give, default = (_held(mode) for mode in ("give", "not"))
    assert give < 20
    assert default > 60, "without the option they are kept, so this test can fail"


def _held(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", HELD, mode], capture_output=True, text=True, check=True).stdout)
