"""Imports go one way, and importing one room wakes no other (design, section 4)."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from conformance import OWN_VECTORS

PACKAGE = Path(__file__).parents[1] / "anivoice"

ALLOWED = {
    "audio": {"errors", "frames"},
    "models": {"process", "errors"},
    "checkpoints": {"models", "errors"},
    "stages": {"frames", "models", "checkpoints", "errors"},
    "voices": {"models", "checkpoints", "errors", "stages", "parameters"},
    "engine": {"process", "stages", "models", "checkpoints", "voices", "errors", "frames"},
    "live": {"engine", "audio", "stages", "models", "voices", "parameters", "errors", "frames"},
    "training": {"audio", "checkpoints", "models", "stages", "voices", "errors", "frames"},
}
"""What a room may import of the package, beside itself."""

BARE_ROOMS = ("models", "checkpoints", "stages", "voices", "engine")
NEEDS_MORE = ("anivoice.voices.settings_file", "anivoice.voices.download", "anivoice.voices.store")
HEAVY = ("aiohttp", "faiss", "librosa", "parselmouth", "pyworld", "resampy", "safetensors", "scipy", "soundfile")

BLOCKER = """
import sys
from importlib.machinery import PathFinder

class OnlyTorchAndNumpy(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else super().find_spec(name, path, target)

sys.meta_path = [OnlyTorchAndNumpy if finder is PathFinder else finder for finder in sys.meta_path]
"""

CONVERSION = """
import pathlib, types
import numpy as np
from anivoice.engine.batch import Job, WindowRequest
from anivoice.engine.runtime import build_runtime
from anivoice.frames import WindowLayout
from anivoice.stages.options import ConversionOptions
settings = types.SimpleNamespace(weights_dir=pathlib.Path(sys.argv[1]), device="cpu", gpu_index=None, precision="auto",
    threads=1, voice_cache_mb=64, max_live_batch=None, cuda_graphs=True, keep_warm=None)
room = build_runtime(settings)
room.engine.start()
voice = room.voices.acquire("alice", False)
samples, f0_hz = np.zeros(16000, np.float32), np.full(100, 100.0)
segment = WindowRequest(voice=voice, layout=WindowLayout(20, 40, 0, 38), samples=samples, window_frame=0,
    f0_known_hz=f0_hz[:98], num_known_frames=98, noise_seed=1)
print(len(room.engine.submit(segment, Job()).result().waveform))
live = WindowRequest(voice=room.voices.acquire("whisper", False), layout=WindowLayout(16, 80, 3, 0, 1),
    samples=samples, window_frame=0, f0_known_hz=f0_hz.astype(np.float32), num_known_frames=100, noise_seed=1)
print(len(room.engine.submit(live, Job(), deadline_s=0.0).result().waveform))
room.engine.stop()
"""


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


def installed_beyond_torch_and_numpy() -> list[str]:
    """Top-level modules of what is installed here, but for torch, numpy, and what these two need."""
    kept = {"torch", "torchgen", "functorch", "numpy", "anivoice"}
    pending = ["torch", "numpy"]
    while pending:
        for requirement in distribution(pending.pop()).requires or []:
            name = re.split(r"[^\w.-]", requirement)[0]
            if "extra ==" not in requirement and find_spec(name.replace("-", "_")) and name not in kept:
                kept.add(name)
                pending.append(name)
    return sorted(packages_distributions().keys() - {name.replace("-", "_") for name in kept})


def run_blocked(code: str, *arguments: str) -> str:
    """What the code prints where only torch and numpy can be imported."""
    blocked = installed_beyond_torch_and_numpy()
    assert {"pydantic", "aiohttp", "faiss", "soundfile"} <= set(blocked)
    code = f"BLOCKED = {blocked}\n{BLOCKER}\n{code}"
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_bare_rooms_need_only_torch_and_numpy() -> None:
    paths = (path for room in BARE_ROOMS for path in (PACKAGE / room).rglob("*.py"))
    modules = (".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for p in paths)
    wanted = sorted(set(modules) - set(NEEDS_MORE))
    assert "anivoice.engine.runtime" in wanted
    imports = "".join(f"import {name}\n" for name in wanted)
    assert run_blocked(f"{imports}print('done')") == "done\n"


def test_the_engine_converts_where_there_is_nothing_but_torch_and_numpy(tmp_path: Path) -> None:
    for name, file in {"alice": "v1_f0_40k", "whisper": "v1_nof0_40k"}.items():
        shutil.copyfile(OWN_VECTORS / "synth" / f"{file}.pth", tmp_path / f"{name}.pth")
    shutil.copytree(OWN_VECTORS / "hubert" / "tiny12_hf_bin", tmp_path / "contentvec")
    assert run_blocked(CONVERSION, str(tmp_path)) == "8000\n8000\n"


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = (*HEAVY, "torch", "numpy", "pydantic", "rich")
    code = f"import sys, anivoice.commands.main as m; m.build_parser(); print([n for n in {heavy} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
