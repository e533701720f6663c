"""From a folder of recordings to the slices a voice is trained on, with every fault of the data told first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from torch import Tensor

from anivoice.models.voice_config import VoiceConfig
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.training import voice_checks as checks
from anivoice.training.product_frames import content_frames, pitch_frames, warped_content_frames
from anivoice.training.voice_audio import Recording, at_rate, find_recordings, normalised, read_recording, slices
from anivoice.training.voice_data import has_sound, has_views, write_list, write_sound, write_views

CONTENT_RATE_HZ = 16000
HELD_OUT_EVERY = 25
MAX_HELD_OUT = 8

Tell = Callable[[str], None]
ParallelViews = Callable[[str, float, Tensor], list[Tensor]]
"""Name of a recording, where in it a slice begins (s), the slice's features `[N, F]` -> the same words of other
speakers at the slice's timing."""


@dataclass(frozen=True)
class Preparation:
    """How recordings become slices. `encoder` None prepares for the decoder alone."""

    config: VoiceConfig
    encoder: ContentEncoder | None
    pitch: PitchExtractor
    pitch_algo: str
    warps: Sequence[float] = ()
    parallel: ParallelViews | None = None


def check_folder(folder: Path, sample_rate_hz: int) -> list[str]:
    """Warnings about the recordings. Raises InvalidParameter, UndecodableAudio for what cannot work."""
    speech_s = 0.0
    bandwidths_hz = []
    for path in find_recordings(folder):
        recording = read_recording(path)
        checks.check_recording(recording)
        speech_s += checks.speech_seconds(recording)
        bandwidths_hz.append(checks.bandwidth_hz(recording))
    return checks.check_amount(speech_s) + checks.dull_warning(bandwidths_hz, sample_rate_hz)


def prepare_folder(folder: Path, cache: Path, preparation: Preparation, tell: Tell) -> list[str]:
    """Fills `cache`; what is there already is kept. Returns warnings.

    Raises what `check_folder` raises.
    """
    rate_hz = preparation.config.sample_rate_hz
    warnings = check_folder(folder, rate_hz)
    names: list[str] = []
    medians_hz: list[float] = []
    paths = find_recordings(folder)
    for number, path in enumerate(paths, 1):
        recording = at_rate(normalised(read_recording(path)), rate_hz)
        for index, (first_sample, samples) in enumerate(slices(recording)):
            name = f"{number:05d}-{index:03d}"
            piece = Recording(path.stem, samples, rate_hz)
            _prepare_slice(cache, name, piece, first_sample / rate_hz, preparation)
            names.append(name)
            medians_hz.append(_median_f0_hz(np.load(cache / f"{name}.f0.npy")))
        if number % 50 == 0 or number == len(paths):
            tell(f"prepared {number} of {len(paths)} recordings")
    held_out = names[:: max(HELD_OUT_EVERY, -(-len(names) // MAX_HELD_OUT))] if len(names) >= HELD_OUT_EVERY else []
    config = preparation.config
    write_list(cache, [n for n in names if n not in held_out], held_out, config.frame_samples, config.content_dim)
    return warnings + checks.mixed_speakers_warning(medians_hz)


def _prepare_slice(cache: Path, name: str, recording: Recording, begin_s: float, preparation: Preparation) -> None:
    hop = preparation.config.frame_samples
    num_frames = len(recording.samples) // hop // 2 * 2
    waveform = recording.samples[: num_frames * hop]
    heard = _at_content_rate(waveform, recording.sample_rate_hz, num_frames)
    if not has_sound(cache, name):
        f0_hz = pitch_frames(heard, preparation.pitch, preparation.pitch_algo).numpy()
        write_sound(cache, name, waveform, f0_hz)
    if preparation.encoder is not None and not has_views(cache, name):
        write_views(cache, name, _views(heard, recording.name, begin_s, preparation.encoder, preparation))


def _views(
    heard: NDArray[np.float32], name: str, begin_s: float, encoder: ContentEncoder, preparation: Preparation
) -> list[Tensor]:
    """Features of the slice itself, of warped copies, of other speakers."""
    version = preparation.config.version
    views = [content_frames(heard, encoder, version)]
    views += [warped_content_frames(heard, encoder, version, factor) for factor in preparation.warps]
    return views if preparation.parallel is None else views + preparation.parallel(name, begin_s, views[0])


def _at_content_rate(waveform: NDArray[np.float32], rate_hz: int, num_frames: int) -> NDArray[np.float32]:
    samples = np.asarray(soxr.resample(waveform, rate_hz, CONTENT_RATE_HZ), np.float32)
    wanted = num_frames * CONTENT_RATE_HZ // 100
    return np.pad(samples, (0, max(wanted - len(samples), 0)))[:wanted]


def _median_f0_hz(f0_hz: NDArray[np.float32]) -> float:
    voiced = f0_hz[f0_hz > 0]
    return float(np.median(voiced)) if len(voiced) else 0.0
