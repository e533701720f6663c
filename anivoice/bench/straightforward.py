"""The yardstick: the same conversion in the plainest form, everything eager, nothing folded, tiled or left out.

It computes what the reference computes, in the way the reference does: whole padded windows through plain modules.
"""

from typing import BinaryIO

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.audio.files import to_int16
from anivoice.audio.segmentation import REFERENCE_PROFILE, high_pass, read_reflected
from anivoice.frames import FRAME_SAMPLES
from anivoice.models.content_model import ContentModel
from anivoice.models.hubert import HubertModel
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.sine_source import phase_after
from anivoice.models.voice_config import Version
from anivoice.stages.pitch.contour import coarse_pitch
from anivoice.stages.retrieval import repeat_frames
from anivoice.voices.voice import Voice

V1_LAYER = 9


@torch.inference_mode()
def convert_straightforwardly(voice: Voice, rmvpe: Rmvpe, source: BinaryIO, destination: BinaryIO, noise: bool) -> None:
    """A 16 kHz WAV of at most 40 s -> a WAV at the voice's rate."""
    samples, _ = soundfile.read(source, dtype="float32")
    pad = REFERENCE_PROFILE.pad_samples
    padded = torch.from_numpy(
        np.ascontiguousarray(read_reflected(high_pass(samples), -pad, len(samples) + pad), np.float32)
    )
    f0_hz = rmvpe.decode(rmvpe(padded.unsqueeze(0)))[:, : len(padded) // FRAME_SAMPLES].double()
    content = plain_content(voice.encoder.model, padded, voice.config.version)
    features = repeat_frames(content)[: f0_hz.shape[1]].unsqueeze(0)
    waveform = _synthesize(voice, features, f0_hz[:, : features.shape[1]], noise, pad // FRAME_SAMPLES)
    trim = REFERENCE_PROFILE.pad_s * voice.config.sample_rate_hz
    _write(waveform[trim : len(waveform) - trim].numpy(), destination, voice.config.sample_rate_hz)


def plain_content(model: ContentModel, samples: Tensor, version: Version) -> Tensor:
    """`[L]` -> `[N, F]`."""
    if not isinstance(model, HubertModel):
        features: Tensor = model(samples[None], version)
        return features[0]
    x = samples[None, None]
    for layer in model.feature_extractor.conv_layers:
        x = layer(x)
    num_layers = V1_LAYER if version == "v1" else model.config.num_layers
    hidden: Tensor = model.encoder(model.feature_projection(x), num_layers)
    if version == "v1" and model.final_proj is not None:
        hidden = model.final_proj(hidden)
    return hidden[0]


def _synthesize(voice: Voice, features: Tensor, f0_hz: Tensor, noise: bool, start_frame: int) -> Tensor:
    """The source's phase is 0 at `start_frame`, where the recording begins."""
    model, config = voice.model, voice.config
    num_frames, num_samples = features.shape[1], features.shape[1] * config.frame_samples
    latent_noise = torch.randn(1, config.inter_channels, num_frames) if noise else None
    source_noise = torch.randn(1, num_samples) if noise else None
    g = model.speaker(torch.zeros(1, dtype=torch.long))
    z = model.latent(model.prior(features, coarse_pitch(f0_hz)), g, latent_noise)
    phase = 1 - phase_after(f0_hz[:, :start_frame], config.sample_rate_hz, config.frame_samples)[:, -1]
    z, source = model.decoder_input(z, f0_hz.float(), phase, source_noise)
    waveform: Tensor = model.dec(z, g, source)
    return waveform[0]


def _write(samples: NDArray[np.float32], destination: BinaryIO, rate_hz: int) -> None:
    peak = float(np.abs(samples).max()) / 0.99
    soundfile.write(destination, to_int16(samples / np.float32(max(peak, 1.0))), rate_hz, "PCM_16", format="WAV")
