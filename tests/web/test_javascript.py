"""The page's modules that need no browser, tested by node."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_modules(path: Path) -> None:
    result = subprocess.run([NODE, "--test", path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
