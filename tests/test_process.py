"""Memory that is freed stays with the process, so that nothing waits for the kernel to clear pages."""

import subprocess
import sys

import pytest

from anivoice.process import keep_freed_memory

COUNT_PAGE_FAULTS = """
import resource
import numpy as np
from anivoice.process import configure_process
configure_process()
def use():
    return np.concatenate([np.ones(2**18, np.float32) for _ in range(12)])
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""60,000 where freed memory goes back to the system."""


@pytest.mark.skipif(not keep_freed_memory(), reason="needs glibc")
def test_memory_that_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT_PAGE_FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_nothing_is_changed(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert not keep_freed_memory()
