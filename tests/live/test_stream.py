"""A live stream's bookkeeping: nothing lost or added, in time, whatever the splits. The network here is a mirror."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import soxr
from conformance import OWN_VECTORS, load_voice
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anivoice.audio.history import History
from anivoice.audio.live_geometry import PRESET_GEOMETRY, live_geometry
from anivoice.audio.live_high_pass import LiveHighPass
from anivoice.engine.batch import WindowRequest, WindowResult
from anivoice.errors import InvalidParameter
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source, Step
from anivoice.voices.voice import Voice

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def voice() -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": ""}, OWN_VECTORS)


@pytest.fixture(scope="module", autouse=True)
def all_pass() -> Iterator[None]:
    """What the mirror hears is all of the input: its high-pass shifts low tones in time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveHighPass, "feed", lambda high_pass, samples: samples)
        yield


def mirror(request: WindowRequest) -> WindowResult:
    """What an engine would answer whose network gives back what it hears."""
    rate_hz = request.voice.config.sample_rate_hz
    hop = rate_hz // 100
    whole = soxr.resample(request.samples, 16000, rate_hz)
    part = whole[request.layout.first_decoded_frame * hop : request.layout.end_decoded_frame * hop]
    return WindowResult(
        part.astype(np.float32), np.full(len(request.f0_known_hz), 100, np.float32), request.initial_phase
    )


def stream_of(voice: Voice, **parameters: Any) -> LiveStream:
    return LiveStream(Source(voice, StreamParameters.model_validate(parameters), "pm"), seed=1)


def run(stream: LiveStream, pieces: list[Samples]) -> Samples:
    """All output of a stream that is fed these pieces and flushed."""
    out = []
    for piece in pieces:
        out += [answer(stream, step) for step in stream.feed(piece)]
    out += [answer(stream, step) for step in stream.flush()]
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def answer(stream: LiveStream, step: Step) -> Samples:
    request = stream.request(step)
    return stream.finish(step, None if request is None else mirror(request))


def relative_error(out: Samples, wanted: Samples, lag: int, edge: int) -> float:
    """RMS of the difference by RMS of what was wanted; the resamplers of live streams are up to 8 samples late."""
    inside = slice(edge, len(out) - edge)
    shifted = wanted[inside.start - lag : inside.stop - lag]
    return float(np.linalg.norm(out[inside] - shifted) / np.linalg.norm(shifted))


def chirp(seconds: float, rate_hz: int) -> Samples:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * (150 * t + 600 * t * t))).astype(np.float32)


@pytest.mark.parametrize("preset", PRESET_GEOMETRY)
@pytest.mark.parametrize(("rate_hz", "output_rate_hz"), [(48000, None), (16000, 48000), (44100, 40000), (22050, None)])
def test_what_goes_in_comes_out_in_time(voice: Voice, preset: str, rate_hz: int, output_rate_hz: int | None) -> None:
    samples = chirp(1.7, rate_hz)
    stream = stream_of(voice, preset=preset, sample_rate=rate_hz, output_sample_rate=output_rate_hz)
    out = run(stream, [samples])
    out_rate_hz = output_rate_hz or rate_hz
    assert len(out) == round(len(samples) * out_rate_hz / rate_hz)
    wanted = soxr.resample(samples, rate_hz, out_rate_hz)[: len(out)]
    assert min(relative_error(out, wanted, lag, out_rate_hz // 10) for lag in range(-8, 9)) < 0.05


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 30000), max_size=12), num_samples=st.integers(1, 30000))
def test_any_split_gives_the_same_bits(voice: Voice, cuts: list[int], num_samples: int) -> None:
    samples = chirp(1, 48000)[:num_samples]
    whole = run(stream_of(voice, preset="low"), [samples])
    split = run(stream_of(voice, preset="low"), np.split(samples, sorted(min(cut, num_samples) for cut in cuts)))
    assert np.array_equal(split, whole)
    assert len(whole) == num_samples


def test_sample_by_sample(voice: Voice) -> None:
    samples = chirp(0.12, 44100)
    one_by_one = [samples[i : i + 1] for i in range(len(samples))]
    assert np.array_equal(
        run(stream_of(voice, sample_rate=44100, preset="ultra"), one_by_one),
        run(stream_of(voice, sample_rate=44100, preset="ultra"), [samples]),
    )


def test_nothing_in_nothing_out(voice: Voice) -> None:
    assert len(run(stream_of(voice), [])) == 0
    assert len(run(stream_of(voice), [np.zeros(0, np.float32)])) == 0
    assert len(run(stream_of(voice), [np.zeros(1, np.float32)])) == 1


def test_a_stream_may_go_on_after_a_flush(voice: Voice) -> None:
    stream = stream_of(voice, preset="low")
    first = run(stream, [chirp(0.5, 48000)])
    second = run(stream, [chirp(0.5, 48000)])
    assert np.array_equal(first, second)


def test_blocks_come_as_soon_as_promised(voice: Voice) -> None:
    stream = stream_of(voice, preset="low")
    given_out = 0
    samples = chirp(2, 48000)
    promised = stream.latency_ms(0)["total"] * 48
    for i in range(0, len(samples), 480):
        given_out += sum(len(answer(stream, step)) for step in stream.feed(samples[i : i + 480]))
        assert given_out >= i + 480 - promised - 48


@pytest.mark.parametrize("message_ms", [20, 80, 240])
@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 192000])
def test_a_block_is_due_with_its_last_sample(voice: Voice, rate_hz: int, message_ms: int) -> None:
    """Neither later, nor before all its audio is there at both inner rates."""
    stream = stream_of(voice, preset="low", sample_rate=rate_hz)
    samples = chirp(1.2, rate_hz)
    edges = [round(ms * rate_hz / 1000) for ms in range(0, 1201, message_ms)]
    num_due = 0
    for start, stop in pairwise(edges):
        for step in stream.feed(samples[start:stop]):
            num_due += 1
            answer(stream, step)
        assert num_due == stop * 1000 // (80 * rate_hz)


def test_a_resampler_that_is_too_late_to_be_hidden_delays_the_stream(voice: Voice) -> None:
    stream = stream_of(voice, preset="low", sample_rate=44101, output_sample_rate=48000)
    samples = chirp(1.2, 44101)
    num_due = [len(stream.feed(samples[at : at + 3529])) for at in range(0, 35290, 3529)]
    assert 20 <= stream.resampling_ms <= 60
    assert sum(num_due) == 10


def test_a_failed_step_is_silence_and_never_the_speakers_voice(voice: Voice) -> None:
    stream = stream_of(voice, preset="low")
    samples = chirp(1.5, 48000)
    out = []
    for number, step in enumerate(stream.feed(samples)):
        request = stream.request(step)
        assert request is not None
        failed = 6 <= number < 10
        out.append(stream.finish(step, None if failed else mirror(request), failed=failed))
    block = 80 * 48
    lead = len(np.concatenate(out[:6]))
    lost = np.concatenate(out)[lead + block // 2 : lead + 3 * block]
    assert not lost.any()
    assert np.abs(np.diff(np.concatenate(out))).max() < 1.1 * np.abs(np.diff(samples)).max()


def test_a_dropped_step_is_spliced(voice: Voice) -> None:
    stream = stream_of(voice, preset="low")
    samples = (0.3 * np.sin(2 * np.pi * 200 * np.arange(96000) / 48000)).astype(np.float32)
    out, dropped = [], 0
    for number, step in enumerate(stream.feed(samples)):
        if number in (5, 6, 11):
            stream.drop(step)
            dropped += 1
        else:
            out.append(answer(stream, step))
    out += [answer(stream, step) for step in stream.flush()]
    joined = np.concatenate(out)
    assert len(joined) == len(samples) - dropped * 80 * 48
    steps = np.abs(np.diff(joined))[100:-100]  # the signal itself begins and ends abruptly
    assert steps.max() < 1.3 * np.abs(np.diff(samples)).max()


def test_below_the_gate_nothing_is_computed(voice: Voice) -> None:
    stream = stream_of(voice, preset="low", gate_db=-50)
    samples = np.concatenate([chirp(0.8, 48000), np.zeros(48000, np.float32), chirp(0.8, 48000)])
    asked = []
    for step in stream.feed(samples):
        request = stream.request(step)
        asked.append(request is not None)
        stream.finish(step, None if request is None else mirror(request))
    assert asked[2]
    assert not asked[17]
    assert asked[-1]


@pytest.mark.parametrize("name", ["mute", "passthrough"])
def test_mute_and_passthrough_compute_nothing(voice: Voice, name: str) -> None:
    samples = chirp(1, 48000)
    stream = stream_of(voice, **{name: True})
    steps = stream.feed(samples)
    assert all(stream.request(step) is None for step in steps)
    out = np.concatenate([stream.finish(step, None) for step in [*steps, *stream.flush()]])
    if name == "mute":
        assert not out.any()
    else:
        np.testing.assert_allclose(out[4800:], samples[4800:], atol=1e-3)
    assert len(out) == len(samples)


def test_successive_requests_agree_about_what_is_settled(voice: Voice) -> None:
    stream = stream_of(voice, preset="low")
    g = stream.geometry
    before: WindowRequest | None = None
    for step in stream.feed(chirp(1.5, 48000)):
        request = stream.request(step)
        assert request is not None
        assert request.window_frame == step.end_frame - g.window_frames
        assert request.window_frame % 2 == 0
        if before is not None:
            decoded_until = before.window_frame + g.window_frames - g.lookahead_frames
            assert request.window_frame + request.num_known_frames == decoded_until
            assert request.window_frame + request.layout.end_decoded_frame >= decoded_until
        stream.finish(step, mirror(request))
        before = request


def test_lengths_are_checked() -> None:
    assert live_geometry("low", block_ms=90).block_frames == 10
    for wrong in ({"block_ms": 10}, {"context_ms": 20000}, {"crossfade_ms": 0}, {"lookahead_ms": 501}):
        with pytest.raises(InvalidParameter, match=next(iter(wrong))):
            live_geometry("low", **wrong)


@given(pieces=st.lists(st.integers(0, 3000), max_size=30), keep=st.integers(1, 5000))
def test_a_history_remembers_what_it_was_told_to_keep(pieces: list[int], keep: int) -> None:
    history, everything = History(), np.zeros(0, np.float32)
    for number, length in enumerate(pieces):
        new = np.arange(length, dtype=np.float32) + number
        history.append(new)
        everything = np.concatenate([everything, new])
        start = max(history.stop - keep, 0)
        history.forget_before(start)
        np.testing.assert_array_equal(history.read(start, history.stop), everything[start:])
        with pytest.raises(ValueError, match="not within"):
            history.read(start, history.stop + 1)


def test_what_was_read_of_a_history_stays_as_long_as_it_is_lent() -> None:
    history = History()
    history.append(np.arange(1000, dtype=np.float32))
    lent = history.read(0, 1000)
    history.is_lent = True
    history.forget_before(900)
    for number in range(20):
        history.append(np.full(100, -number, np.float32))
        history.forget_before(history.stop - 100)
    np.testing.assert_array_equal(lent, np.arange(1000))
