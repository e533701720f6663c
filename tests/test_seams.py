"""Seams of live streams: no more spectral change there than elsewhere, and the proof of what makes it so."""

from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import torch
from conformance import OWN_VECTORS, load_voice
from numpy.typing import NDArray

from anivoice.audio.live_geometry import PRESET_GEOMETRY
from anivoice.bench.seam_measures import forget_position, run_stream, seam_ratio
from anivoice.bench.seams import RATE_HZ, sound
from anivoice.engine.engine import Engine
from anivoice.engine.runner import TorchRunner
from anivoice.live.parameters import StreamParameters
from anivoice.live.stream import LiveStream, Source
from anivoice.voices.voice import Voice

SECONDS = 2.5


@pytest.fixture(scope="module")
def voice() -> Voice:
    return load_voice(OWN_VECTORS, {"model": "v1_f0_40k.pth", "hubert": "tiny12", "index": ""}, OWN_VECTORS)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(TorchRunner(torch.device("cpu"), torch.float32, OWN_VECTORS, num_threads=1))
    engine.start()
    yield engine
    engine.stop()


def sound_of(name: str) -> NDArray[np.float32]:
    if name != "speech":
        return sound(name, SECONDS)
    samples, _ = soundfile.read(OWN_VECTORS / "audio" / "speech_long_16k.wav", dtype="float32")
    return samples[RATE_HZ : RATE_HZ + round(SECONDS * RATE_HZ)]


def source(voice: Voice, preset: str) -> Source:
    given = {"preset": preset, "sample_rate": RATE_HZ, "output_sample_rate": 40000}
    return Source(voice, StreamParameters.model_validate(given), "pm")


@pytest.mark.parametrize("name", ["vowel", "glide", "speech"])
@pytest.mark.parametrize("preset", PRESET_GEOMETRY)
def test_seams_change_no_more_than_the_rest(engine: Engine, voice: Voice, preset: str, name: str) -> None:
    asked = source(voice, preset)
    run = run_stream(engine, asked, sound_of(name))
    assert len(run.output) == round(SECONDS * 40000)
    assert seam_ratio(run.output, 40000, LiveStream(asked, 1)) <= 1.05


@pytest.mark.parametrize("name", ["vowel", "speech"])
def test_noise_and_phase_by_position_are_what_makes_windows_agree(engine: Engine, voice: Voice, name: str) -> None:
    asked = source(voice, "balanced")
    tied = run_stream(engine, asked, sound_of(name))
    loose = run_stream(engine, asked, sound_of(name), spoil=forget_position)
    assert np.median(tied.mismatches) < 0.15
    assert np.median(loose.mismatches) > 3 * np.median(tied.mismatches)
