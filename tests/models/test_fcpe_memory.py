"""FCPE on live streams: it remembers what it heard, and gives what it would give of the whole recording."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from processor import needs_bf16_products
from torch import Tensor

from anivoice.bench.seam_measures import share_within_cents
from anivoice.models.fcpe_memory import PROVISIONAL_FRAMES, FcpeMemory
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.methods import PITCH_METHODS
from anivoice.stages.pitch.networks import FcpePitch
from anivoice.stages.stream_memory import StreamMemory

BLOCK, AHEAD, WINDOW = 16, 4, 120
"""Frames of 10 ms."""
NUM_FRAMES = 480


@pytest.fixture(scope="module")
def fcpe(tmp_path_factory: pytest.TempPathFactory) -> FcpePitch:
    extractor = PitchExtractor(tmp_path_factory.mktemp("weights"), torch.device("cpu"), torch.float32)
    estimator = extractor.current("fcpe")
    assert isinstance(estimator, FcpePitch)
    return estimator


def forget_stream_networks(fcpe: FcpePitch) -> None:
    for name in ("stream_middle", "stream_layers"):
        fcpe.network.__dict__.pop(name, None)


@pytest.fixture(params=[torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16_products)], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fcpe: FcpePitch) -> Iterator[None]:
    monkeypatch.setattr("anivoice.models.fcpe.fastest_dtype", lambda: request.param)
    forget_stream_networks(fcpe)
    yield
    forget_stream_networks(fcpe)


@pytest.fixture(scope="module")
def recording() -> Tensor:
    """A gliding voice-like tone with pauses and a little noise, `[n]`."""
    generator = np.random.default_rng(3)
    t = np.arange(NUM_FRAMES * 160) / 16000
    f0_hz = 170.0 * 2 ** (0.4 * np.sin(2 * np.pi * 0.6 * t))
    phase = 2 * np.pi * np.cumsum(f0_hz) / 16000
    tone = sum(np.sin(h * phase) / h for h in range(1, 12)) * (np.sin(2 * np.pi * 0.9 * t) > -0.6)
    return torch.from_numpy((0.15 * tone + 0.002 * generator.standard_normal(len(t))).astype(np.float32))


def windows(recording: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Each window with its first frame."""
    padded = torch.cat([torch.zeros(WINDOW * 160), recording])
    for end in range(BLOCK, NUM_FRAMES + 1, BLOCK):
        yield padded[end * 160 : (end + WINDOW) * 160].unsqueeze(0), end - WINDOW


def streamed(fcpe: FcpePitch, recording: Tensor, left_out: frozenset[int] = frozenset()) -> NDArray[np.float32]:
    """f0 of the whole stream, 0 where windows are left out."""
    memory, known = StreamMemory(), np.zeros(0, np.float32)
    for step, (window, first) in enumerate(windows(recording)):
        end = first + WINDOW
        if step in left_out:
            known = np.pad(known, (0, end - AHEAD - len(known)))
            continue
        f0 = fcpe.stream(window, memory, first, len(known), AHEAD)[0].numpy()
        assert len(f0) == end - len(known)
        known = np.concatenate([known, f0])[: end - AHEAD]
    return known


def frames_through_layers(fcpe: FcpePitch, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled as windows are computed."""
    seen: list[int] = []
    extended = FcpeMemory.extended

    def watched(memory: FcpeMemory, place: int, x: Tensor, reach_frames: int) -> Tensor:
        if place == 0:
            seen.append(x.shape[1])
        return extended(memory, place, x, reach_frames)

    monkeypatch.setattr(FcpeMemory, "extended", watched)
    return seen


@pytest.mark.usefixtures("dtype")
def test_a_stream_has_the_pitch_of_the_recording(fcpe: FcpePitch, recording: Tensor) -> None:
    whole, stream = fcpe(recording.unsqueeze(0))[0].numpy(), streamed(fcpe, recording)
    whole = whole[: len(stream)]
    assert share_within_cents(stream, whole, 10) > 0.9
    assert ((stream > 0) == (whole > 0)).mean() > 0.95


def test_frames_are_computed_once_but_for_the_provisional_ones(
    fcpe: FcpePitch, recording: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = frames_through_layers(fcpe, monkeypatch)
    streamed(fcpe, recording)
    assert seen[0] == BLOCK + PITCH_METHODS["fcpe"].context_frames
    assert set(seen[2:]) == {BLOCK + AHEAD + PROVISIONAL_FRAMES}


def test_after_a_gap_what_is_remembered_is_forgotten(
    fcpe: FcpePitch, recording: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = frames_through_layers(fcpe, monkeypatch)
    stream = streamed(fcpe, recording, left_out=frozenset({10, 11, 12}))
    assert seen[10] == BLOCK + AHEAD + PITCH_METHODS["fcpe"].context_frames
    after = slice(13 * BLOCK, None)
    whole = fcpe(recording.unsqueeze(0))[0].numpy()[: len(stream)]
    assert share_within_cents(stream[after], whole[after], 10) > 0.9


def test_a_window_that_is_computed_twice_gives_the_same(fcpe: FcpePitch, recording: Tensor) -> None:
    once, twice = StreamMemory(), StreamMemory()
    known = 0
    for step, (window, first) in enumerate(windows(recording)):
        if step == 8:
            fcpe.stream(window, twice, first, known, AHEAD)
        expected = fcpe.stream(window, once, first, known, AHEAD)[0].numpy()
        found = fcpe.stream(window, twice, first, known, AHEAD)[0].numpy()
        if step >= 8:
            assert share_within_cents(found, expected, 20) > 0.9
        known = first + WINDOW - AHEAD


def test_nothing_wanted_is_nothing_computed(fcpe: FcpePitch) -> None:
    assert fcpe.stream(torch.zeros(1, WINDOW * 160), StreamMemory(), 0, WINDOW, AHEAD).shape == (1, 0)


def test_a_measured_window_passes_for_one_in_the_middle(
    fcpe: FcpePitch, recording: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = frames_through_layers(fcpe, monkeypatch)
    fcpe.stream(recording[: WINDOW * 160].unsqueeze(0), StreamMemory(assumed_frames=40), 0, WINDOW - 20, AHEAD)
    assert seen == [20 + PROVISIONAL_FRAMES]


@pytest.mark.parametrize("exponent", [0, 0.5], ids=["white", "pink"])
def test_noise_is_not_voiced(fcpe: FcpePitch, exponent: float) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(48000))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** exponent
    noise = np.fft.irfft(spectrum)
    samples = torch.from_numpy((0.05 * noise / noise.std()).astype(np.float32)).unsqueeze(0)
    assert (fcpe(samples) > 0).float().mean() < 0.02
    assert (fcpe.network.decode(fcpe.network(samples)) > 0).float().mean() > 0.9
