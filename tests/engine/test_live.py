"""Windows of live streams through small networks: batches, overlaps, phases, what each stream asks for."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from conformance import OWN_VECTORS, load_tone_voice, load_voice
from engine.live_windows import WindowedStream, overlaps
from numpy.typing import NDArray

from anivoice.audio.live_geometry import live_layout
from anivoice.engine.batch import Job, Stage, WarmWindowRequest, WindowRequest, WindowResult
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.errors import InvalidModelFile, InvalidParameter
from anivoice.models.rmvpe import build_rmvpe
from anivoice.stages.options import ConversionOptions
from anivoice.stages.pitch.networks import SaliencePitch
from anivoice.voices.voice import Voice

GEOMETRY = live_layout(block_frames=8, context_frames=60, crossfade_frames=4, lookahead_frames=2)
F0_HZ = 183.3
T = TypeVar("T")


def vowel(seconds: float = 1.6, f0_hz: float = F0_HZ) -> NDArray[np.float32]:
    t = np.arange(round(seconds * 16000)) / 16000
    return (0.2 * sum(np.sin(2 * np.pi * h * f0_hz * t) / h for h in range(1, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def plain_voice(h768_hf_dir: Path) -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v2_f0_48k.pth", "hubert": "h768", "index": ""}, h768_hf_dir)


@pytest.fixture(scope="module")
def indexed_voice(h768_hf_dir: Path) -> Voice:
    settings = {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": "added_v1_256.index"}
    return load_voice(OWN_VECTORS, settings, h768_hf_dir)


@pytest.fixture(scope="module")
def tone_voice(h768_hf_dir: Path) -> Voice:
    return load_tone_voice(h768_hf_dir)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> TorchRunner:
    runner = TorchRunner(torch.device("cpu"), torch.float32, tmp_path_factory.mktemp("weights"), num_threads=1)
    runner.open()
    torch.set_flush_denormal(False)  # this is the tests' own thread, and hypothesis needs the smallest numbers
    return runner


def finished(steps: Generator[Stage, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.fixture
def compute(runner: TorchRunner) -> Callable[[WindowRequest], WindowResult]:
    def one(request: WindowRequest) -> WindowResult:
        result = finished(runner.window_steps([request]))[0]
        assert isinstance(result, WindowResult)
        return result

    return one


def test_the_overlap_of_two_windows_is_the_same_tone(
    compute: Callable[[WindowRequest], WindowResult], tone_voice: Voice
) -> None:
    stream = WindowedStream(tone_voice, vowel(), GEOMETRY)
    results = list(stream.run(compute))
    pairs = list(overlaps(results, GEOMETRY, 480))[8:]
    assert len(pairs) >= 8
    for before, after in pairs:
        assert np.abs(before).max() > 0.1
        np.testing.assert_allclose(after, before, atol=1e-3)


def test_the_tone_has_the_right_pitch_and_an_unbroken_phase(
    compute: Callable[[WindowRequest], WindowResult], tone_voice: Voice
) -> None:
    stream = WindowedStream(tone_voice, vowel(), GEOMETRY, seed=None, pitch_change=7.0)
    blocks = [result.waveform[: 8 * 480] for result in stream.run(compute)]
    heard = np.concatenate(blocks[8:]).astype(np.float64)
    heard -= heard.mean()
    t = np.arange(len(heard)) / 48000
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 2**20))
    peak_hz = np.argmax(spectrum) * 48000 / 2**20
    assert abs(1200 * np.log2(peak_hz / (F0_HZ * 2 ** (7 / 12)))) < 5
    phase = np.unwrap(np.angle(np.convolve(heard * np.exp(-2j * np.pi * peak_hz * t), np.ones(960) / 960, "valid")))
    assert np.abs(phase - phase.mean()).max() < 0.5


@pytest.mark.parametrize("formant_shift", [0.0, -4.0, 3.3])
def test_overlaps_nearly_agree_through_a_whole_network(
    compute: Callable[[WindowRequest], WindowResult], plain_voice: Voice, formant_shift: float
) -> None:
    options = ConversionOptions(formant_shift=formant_shift)
    results = list(WindowedStream(plain_voice, vowel(), GEOMETRY, options=options).run(compute))
    pairs = list(overlaps(results, GEOMETRY, 480))[8:]
    correlations = [np.corrcoef(before[:960], after[:960])[0, 1] for before, after in pairs]
    assert np.median(correlations) > 0.95


def test_without_its_phase_the_overlap_disagrees(
    compute: Callable[[WindowRequest], WindowResult], tone_voice: Voice
) -> None:
    stream = WindowedStream(tone_voice, vowel(), GEOMETRY)
    results = []
    for result in stream.run(compute):
        stream.phase = 0.0
        results.append(result)
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in list(overlaps(results, GEOMETRY, 480))[8:]]
    assert min(correlations) < 0.5


def varied(voice: Voice) -> list[WindowRequest]:
    """Streams that share nothing but the voice."""
    shared = {"voice": voice, "geometry": GEOMETRY}
    streams = [
        WindowedStream(recording=vowel(f0_hz=120), **shared),
        WindowedStream(recording=vowel(f0_hz=250), pitch_change=-5, seed=77, unvoiced_f0="interpolate", **shared),
        WindowedStream(recording=0.05 * vowel(f0_hz=90), seed=None, options=ConversionOptions(0.7, 0.1), **shared),
        WindowedStream(recording=vowel(f0_hz=180), options=ConversionOptions(1.0, 0.5, 2.5), **shared),
    ]
    for step, stream in enumerate(streams):
        stream.step, stream.phase = 7 + step, 0.1 * step
    return [stream.request() for stream in streams]


@pytest.mark.parametrize("name", ["plain_voice", "indexed_voice"])
def test_a_batch_gives_what_each_request_gives_alone(
    runner: TorchRunner, compute: Callable[[WindowRequest], WindowResult], name: str, request: pytest.FixtureRequest
) -> None:
    requests = varied(request.getfixturevalue(name))
    together = finished(runner.window_steps(requests))
    for one, result in zip(requests, together, strict=True):
        alone = compute(one)
        assert isinstance(result, WindowResult)
        np.testing.assert_allclose(result.waveform, alone.waveform, atol=1e-4)
        np.testing.assert_allclose(result.f0_hz, alone.f0_hz, rtol=1e-5)
        assert result.next_phase == pytest.approx(alone.next_phase, abs=1e-6)
    waveforms = [result.waveform for result in together if isinstance(result, WindowResult)]
    assert np.abs(waveforms[0] - waveforms[1]).max() > 1e-2


def test_voices_are_not_mixed_up_in_a_batch(
    runner: TorchRunner, compute: Callable[[WindowRequest], WindowResult], plain_voice: Voice, tone_voice: Voice
) -> None:
    tone_voice = replace(tone_voice, encoder=plain_voice.encoder, placed=None)
    requests = [WindowedStream(v, vowel(), GEOMETRY).request() for v in (plain_voice, tone_voice, plain_voice)]
    assert len({request.batch_key for request in requests}) == 1
    for one, result in zip(requests, finished(runner.window_steps(requests)), strict=True):
        assert isinstance(result, WindowResult)
        np.testing.assert_allclose(result.waveform, compute(one).waveform, atol=1e-4)


def test_known_f0_is_used_and_kept(compute: Callable[[WindowRequest], WindowResult], tone_voice: Voice) -> None:
    stream = WindowedStream(tone_voice, vowel(), GEOMETRY, seed=None)
    stream.step = 12
    known = np.full(GEOMETRY.window_frames, 300.0, np.float32)
    request = replace(stream.request(), f0_known_hz=known, num_known_frames=GEOMETRY.window_frames - 6)
    result = compute(request)
    np.testing.assert_array_equal(result.f0_hz[:-6], 300.0)
    np.testing.assert_allclose(result.f0_hz[-6:-2], F0_HZ, rtol=0.01)
    advance = 300.0 / 48000 * 480 * GEOMETRY.block_frames
    assert result.next_phase == pytest.approx(advance % 1.0, abs=1e-6)


@pytest.mark.parametrize("num_known", [0, 50, 60])
def test_rmvpe_hears_windows_that_need_no_padding(
    tmp_path: Path, rmvpe_tiny_path: Path, plain_voice: Voice, num_known: int
) -> None:
    runner = TorchRunner(torch.device("cpu"), torch.float32, tmp_path, num_threads=1)
    network = SaliencePitch(build_rmvpe(torch.load(rmvpe_tiny_path, weights_only=True)))
    lengths: list[int] = []

    def listening(samples: torch.Tensor) -> torch.Tensor:
        lengths.append(samples.shape[1] // 160 + 1)
        return network(samples)

    runner.pitch._estimators["rmvpe"] = listening
    stream = WindowedStream(replace(plain_voice, placed=None), vowel(), GEOMETRY, "rmvpe")
    stream.step = 12
    result = finished(runner.window_steps([replace(stream.request(), num_known_frames=num_known)]))[0]
    assert isinstance(result, WindowResult)
    assert lengths[0] % 32 == 0
    np.testing.assert_array_equal(result.f0_hz[:num_known], 0)


def test_a_voice_without_f0(compute: Callable[[WindowRequest], WindowResult], h768_hf_dir: Path) -> None:
    names = sorted(path.name for path in (OWN_VECTORS / "synth").glob("*nof0*.pth"))
    settings = {"model": names[0], "hubert": "tiny12" if "v1" in names[0] else "h768", "index": ""}
    voice = load_voice(OWN_VECTORS, settings, h768_hf_dir)
    results = list(WindowedStream(voice, vowel(0.8), GEOMETRY, "none").run(compute))
    assert all(len(r.waveform) == GEOMETRY.decode_frames * voice.config.frame_samples for r in results)
    assert np.abs(results[-1].waveform).max() > 0


def test_the_shortest_window(compute: Callable[[WindowRequest], WindowResult], plain_voice: Voice) -> None:
    geometry = live_layout(block_frames=2, context_frames=0, crossfade_frames=1, lookahead_frames=0)
    result = compute(WindowedStream(plain_voice, vowel(), geometry).request())
    assert len(result.waveform) == 4 * 480


def test_a_broken_window_is_refused(runner: TorchRunner, plain_voice: Voice) -> None:
    request = WindowedStream(plain_voice, vowel(), GEOMETRY).request()
    with pytest.raises(ValueError, match="samples"):
        finished(runner.window_steps([replace(request, samples=request.samples[:-160])]))
    with pytest.raises(ValueError, match="do not lie"):
        finished(
            runner.window_steps([replace(request, layout=replace(GEOMETRY, lookahead_frames=80, context_frames=-18))])
        )


def test_values_that_are_no_numbers_fail_their_own_request(runner: TorchRunner, plain_voice: Voice) -> None:
    good = WindowedStream(plain_voice, vowel(), GEOMETRY).request()
    bad = replace(good, samples=np.full_like(good.samples, np.nan))
    first, second = finished(runner.window_steps([bad, good]))
    assert isinstance(first, InvalidModelFile)
    assert isinstance(second, WindowResult)


@pytest.fixture
def engine(runner: TorchRunner) -> Iterator[Engine]:
    engine = Engine(runner, max_live_batch=4)
    engine.start()
    yield engine
    engine.stop()


def test_through_the_engine_one_bad_request_fails_one_future(engine: Engine, plain_voice: Voice) -> None:
    good = WindowedStream(plain_voice, vowel(), GEOMETRY).request()
    bad = replace(good, options=ConversionOptions(speaker_id=60000))
    engine.submit(WarmWindowRequest(good), Job()).result(30)
    futures = [engine.submit(request, Job(), deadline_s=1.0) for request in (good, bad, good)]
    with pytest.raises(InvalidParameter, match="speakers"):
        futures[1].result(30)
    np.testing.assert_allclose(futures[0].result(30).waveform, futures[2].result(30).waveform, atol=1e-4)
    assert {"content", "pitch", "retrieval", "prior", "flow", "decoder"} <= engine.stage_s.keys()
    assert engine.admission.cost_s(good.load_key) is not None
