"""Samples between samples, and where a sound is like itself: for splices that nobody hears."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

HALF_TAPS = 8
NUM_PHASES = 512
OFFSETS = np.arange(1 - HALF_TAPS, HALF_TAPS + 1)
TINY_ENERGY = 1e-9


def _filters() -> Samples:
    """A windowed sinc (Blackman) for each phase. `[NUM_PHASES + 1, 2 * HALF_TAPS]`"""
    x = OFFSETS - np.arange(NUM_PHASES + 1)[:, None] / NUM_PHASES
    window = 0.42 + 0.5 * np.cos(np.pi * x / HALF_TAPS) + 0.08 * np.cos(2 * np.pi * x / HALF_TAPS)
    taps = np.sinc(x) * np.where(np.abs(x) < HALF_TAPS, window, 0)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)


FILTERS = _filters()


def values_at(samples: Samples, places: NDArray[np.float64]) -> Samples:
    """The sound at fractional places, `[n]` each in `HALF_TAPS - 1 .. len(samples) - HALF_TAPS - 1`."""
    whole = np.floor(places).astype(np.int64)
    phases = np.rint((places - whole) * NUM_PHASES).astype(np.int64)
    return np.asarray(np.einsum("nk,nk->n", samples[whole[:, None] + OFFSETS], FILTERS[phases]), np.float32)


def likest_place(reference: Samples, samples: Samples) -> int:
    """The place in `samples` at which what follows is most like `reference` (normalized cross-correlation)."""
    products = np.correlate(samples, reference, "valid")
    sums = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    energies = sums[len(reference) :] - sums[: -len(reference)]
    return int(np.argmax(products / np.sqrt(np.maximum(energies, 0) + TINY_ENERGY)))
