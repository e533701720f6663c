"""Imports go one way, and importing one room wakes no other (design, section 4)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "anivoice"

ALLOWED = {
    "audio": {"errors"},
    "models": {"errors"},
    "stages": {"models", "errors", "pitch_methods"},
    "engine": {"stages", "models", "voices", "config", "errors"},
}
"""What a room may import of the package, beside itself."""

BARE_ROOMS = ("models", "stages")
HEAVY = ("aiohttp", "faiss", "librosa", "parselmouth", "pyworld", "resampy", "safetensors", "scipy", "soundfile")


def imports_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_in_one_direction(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("anivoice."):
                other = name.split(".")[1]
                assert other == room or other in ALLOWED[room], f"{path.name} imports {name}"


def test_aiohttp_stays_in_server_and_client() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("server", "client"):
            assert not any(name.split(".")[0] == "aiohttp" for name in imports_of(path)), path


def test_torch_cuda_stays_in_the_engine() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "engine":
            assert "torch.cuda" not in path.read_text("utf-8"), path


def test_sub_packages_are_empty() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert path.read_text("utf-8") == "", path


@pytest.mark.parametrize("room", BARE_ROOMS)
def test_bare_rooms_need_only_torch_and_numpy(room: str) -> None:
    modules = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in (PACKAGE / room).rglob("*.py")]
    code = "import sys\n" + "".join(f"import {name.removesuffix('.__init__')}\n" for name in sorted(modules))
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = (*HEAVY, "torch", "numpy", "pydantic", "rich")
    code = f"import sys, anivoice.cli; anivoice.cli.build_parser(); print([n for n in {heavy} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
