"""Fixtures shared by all tests."""

import os
import sys

# Before torch is imported: two OpenMP threads that spin on a busy core are 30 times slower than two that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance import vectors_dir
from hypothesis import settings

# How long an example takes says more about what else this machine does.
settings.register_profile("anywhere", deadline=None)
settings.load_profile("anywhere")


@pytest.fixture(autouse=True)
def denormals_as_before() -> Iterator[None]:
    """What computes switches them off in its thread, which may be that of all the tests."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    """The golden vectors: tests/data/conformance, or another directory of the same form."""
    return vectors_dir()


@pytest.fixture(scope="session")
def h768_hf_dir(conformance_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content encoder hubert/h768_hf_bin with its weights unpacked."""
    source = conformance_dir / "hubert" / "h768_hf_bin"
    target = tmp_path_factory.mktemp("h768_hf_bin")
    for path in source.glob("*.json"):
        (target / path.name).write_bytes(path.read_bytes())
    packed = source / "pytorch_model.bin.xz"
    (target / "pytorch_model.bin").write_bytes(lzma.decompress(packed.read_bytes()))
    return target


@pytest.fixture(scope="session")
def rmvpe_tiny_path(conformance_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small RMVPE network, unpacked."""
    target = tmp_path_factory.mktemp("rmvpe") / "rmvpe_tiny.pt"
    target.write_bytes(lzma.decompress((conformance_dir / "rmvpe" / "rmvpe_tiny.pt.xz").read_bytes()))
    return target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip themselves where there is no CUDA device."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
