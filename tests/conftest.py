"""Fixtures shared by all tests."""

import os

# Before torch is imported: two OpenMP threads that spin on a busy core are 30 times slower than two that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    """The golden vectors: tests/data/conformance, or another directory of the same form."""
    override = os.environ.get("ANIVOICE_CONFORMANCE_DIR")
    return Path(override) if override else Path(__file__).parent / "data" / "conformance"
