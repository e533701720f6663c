"""Content features and f0 of a recording exactly as a conversion makes them: the stages' own code, the same windows.

Shape letters: N frames of 20 ms, T = 2 N frames of 10 ms, F feature dimensions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.audio.segmentation import CONTENT_HOP_SAMPLES, DEFAULT_PROFILE, high_pass, read_reflected
from anivoice.frames import SAMPLE_RATE_HZ
from anivoice.models.voice_config import Version
from anivoice.stages.content_encoder import ContentEncoder
from anivoice.stages.pitch.extractor import PitchExtractor

CONTENT_FIELD_SAMPLES = 400
"""What the first content frame looks at (SPEC 4); its centre is the frame's time."""


def padded_window(samples: NDArray[np.float32]) -> Tensor:
    """16 kHz audio, high-passed, in a window with the file path's mirrored second on both sides. `[L]`"""
    filtered = high_pass(samples)
    length = len(samples) // CONTENT_HOP_SAMPLES * CONTENT_HOP_SAMPLES
    pad = DEFAULT_PROFILE.pad_samples
    return torch.from_numpy(np.ascontiguousarray(read_reflected(filtered, -pad, length + pad), np.float32))


def content_frames(samples: NDArray[np.float32], encoder: ContentEncoder, version: Version) -> Tensor:
    """16 kHz audio of N frames -> `[N, F]` float32 on the CPU."""
    content = encoder.encode(padded_window(samples).unsqueeze(0), version)[0].float().cpu()
    first = DEFAULT_PROFILE.pad_samples // CONTENT_HOP_SAMPLES
    return content[first : first + len(samples) // CONTENT_HOP_SAMPLES]


def warped_content_frames(
    samples: NDArray[np.float32], encoder: ContentEncoder, version: Version, factor: float
) -> Tensor:
    """Features of the recording played `factor` times as fast (pitch and formants rise with it), at its old timing."""
    import soxr

    fast = np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ), np.float32)
    content = content_frames(fast, encoder, version)
    centres = np.arange(len(samples) // CONTENT_HOP_SAMPLES) * CONTENT_HOP_SAMPLES + CONTENT_FIELD_SAMPLES / 2
    places = np.rint((centres / factor - CONTENT_FIELD_SAMPLES / 2) / CONTENT_HOP_SAMPLES)
    return content[torch.from_numpy(places.clip(0, len(content) - 1).astype(np.int64))]


def pitch_frames(samples: NDArray[np.float32], pitch: PitchExtractor, algo: str) -> Tensor:
    """16 kHz audio of T frames of 10 ms -> f0 `[T]` in Hz, 0 = unvoiced."""
    f0 = pitch.estimate(padded_window(samples), algo).cpu()
    first = DEFAULT_PROFILE.pad_samples * 100 // SAMPLE_RATE_HZ
    return f0[first : first + 2 * (len(samples) // CONTENT_HOP_SAMPLES)]
