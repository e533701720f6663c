"""A stream whose lengths change: nothing lost, nothing twice, no click. The network here is a mirror."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.live_high_pass import LiveHighPass
from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.live.parameters import StreamParameters
from anivoice.live.spliced import SplicedStream
from anivoice.live.stream import FADE_MS, Source
from anivoice.voices.voice import Voice

RATE_HZ = 16000
CONFIG = SimpleNamespace(version="v2", has_f0=True, sample_rate_hz=RATE_HZ, num_speakers=1)
VOICE = cast(Voice, SimpleNamespace(name="alice", config=CONFIG, encoder=CONFIG, unvoiced_f0="zero"))
LEVEL = 0.25

Samples = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def all_pass() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveHighPass, "feed", lambda high_pass, samples: samples)
        yield


def source(preset: str, **values: Any) -> Source:
    return Source(VOICE, StreamParameters.model_validate({"sample_rate": RATE_HZ, "preset": preset} | values), "pm")


def mirror(request: WindowRequest) -> WindowResult:
    layout = request.layout
    padded = np.pad(request.samples, (0, 160 * layout.window_frames - len(request.samples)))
    part = padded[160 * layout.first_decoded_frame : 160 * layout.end_decoded_frame]
    return WindowResult(part.astype(np.float32), request.f0_known_hz, request.initial_phase)


def converted(stream: SplicedStream, steps: list[Any]) -> list[Samples]:
    outputs = []
    for step in steps:
        request = stream.request(step)
        outputs.append(stream.finish(step, None if request is None else mirror(request)))
    return outputs


def run(samples: Samples, pieces: list[int], change_at: int, *presets: str) -> Samples:
    """The first preset, then the others, each `change_at` samples after the one before."""
    stream, outputs, at, left = SplicedStream(source(presets[0]), 1), [], 0, list(presets[1:])
    borders = sorted({*np.cumsum(pieces).tolist(), *(change_at * n for n in range(1, len(presets))), len(samples)})
    for border in borders:
        outputs += converted(stream, stream.feed(samples[at:border]))
        at = border
        if left and at == change_at * (len(presets) - len(left)):
            stream.change(source(left.pop(0)))
    outputs += converted(stream, stream.flush())
    return np.concatenate(outputs)


def tone(num_samples: int) -> Samples:
    return (LEVEL * np.sin(2 * np.pi * 200 * np.arange(num_samples) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("presets", [("low", "quality"), ("quality", "ultra"), ("balanced", "quality", "balanced")])
@pytest.mark.parametrize("change_at", [9000, 12345])
def test_the_input_comes_back_whole_and_in_place_but_for_the_fades(presets: tuple[str, ...], change_at: int) -> None:
    samples = tone(4 * RATE_HZ)
    out = run(samples, [], change_at, *presets)
    assert len(out) == len(samples)
    error = np.abs(out - samples)
    num_fade = round(FADE_MS * RATE_HZ / 1000)
    for n in range(1, len(presets)):
        error[change_at * n - num_fade : change_at * n + num_fade] = 0
    error[: RATE_HZ // 10] = error[-RATE_HZ // 10 :] = 0
    assert error.max() < 0.02 * LEVEL


def test_no_click_at_the_change() -> None:
    samples = tone(3 * RATE_HZ)
    steepest = np.abs(np.diff(samples)).max()
    out = run(samples, [], 16000 + 20, "low", "quality")
    assert np.abs(np.diff(out[8000:-8000])).max() < 1.2 * steepest


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5000), max_size=8))
def test_any_split_gives_the_same_samples(pieces: list[int]) -> None:
    samples = tone(2 * RATE_HZ)
    whole = run(samples, [], 13000, "low", "balanced")
    pieces = [piece for piece, stop in zip(pieces, np.cumsum(pieces), strict=True) if stop < len(samples)]
    np.testing.assert_array_equal(run(samples, pieces, 13000, "low", "balanced"), whole)


def test_other_parameters_do_not_splice() -> None:
    stream = SplicedStream(source("low"), 1)
    stream.feed(tone(3000))
    stream.change(source("low", pitch_change=3, gate_db=-50))
    assert stream.parameters.pitch_change == 3
    assert len(stream.flush()) > 0


def test_before_any_audio_and_after_a_flush_there_is_nothing_to_splice() -> None:
    stream = SplicedStream(source("low"), 1)
    stream.change(source("quality"))
    samples = tone(RATE_HZ)
    out = np.concatenate(converted(stream, [*stream.feed(samples), *stream.flush()]))
    assert len(out) == len(samples)
    np.testing.assert_allclose(out[200:2000], samples[200:2000], atol=0.02 * LEVEL)
    stream.change(source("low"))
    assert len(np.concatenate(converted(stream, [*stream.feed(samples), *stream.flush()]))) == len(samples)
