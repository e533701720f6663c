"""The yardstick of a live block: everything of its window computed anew, by plain modules in eager float32.

Shape letters: P frames of 10 ms in the window, S output samples per frame.
"""

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from anivoice.bench.straightforward import plain_content
from anivoice.engine.batch import WindowRequest
from anivoice.engine.window_inputs import whole_windows
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.sine_source import phase_after
from anivoice.stages.noise import PositionalNoise
from anivoice.stages.pitch.contour import coarse_pitch
from anivoice.stages.retrieval import repeat_frames
from anivoice.stages.synthesizer import LATENT_STREAM, SOURCE_STREAM


class PlainResult(NamedTuple):
    """`waveform` `[num_frames * S]` is what the block keeps; `f0_hz` `[P]` the estimate over the whole window."""

    waveform: Tensor
    f0_hz: Tensor


def plain_window_steps(request: WindowRequest, rmvpe: Rmvpe, f0_hz: Tensor) -> Generator[str, None, PlainResult]:
    """Yields a stage's name after it. `f0_hz` `[P]` is the contour to be sung, so that waveforms can be compared; the
    pitch network hears the whole window all the same.
    """
    model, config = request.voice.model, request.voice.config
    samples, P = torch.from_numpy(whole_windows([request])[0]), request.layout.window_frames
    content = plain_content(request.voice.encoder.model, samples, config.version)
    features = repeat_frames(torch.cat([content, content[-1:]]).unsqueeze(0))
    yield "content"
    estimated = rmvpe.decode(rmvpe(samples.unsqueeze(0)))[0, :P]
    yield "pitch"
    heard = (f0_hz * 2 ** (request.pitch_change / 12)).unsqueeze(0)
    g = model.speaker(torch.tensor([request.options.speaker_id]))
    prior = model.prior(features, coarse_pitch(heard))
    yield "prior"
    z = model.latent(prior, g, _noise(request, LATENT_STREAM, config.inter_channels).t().unsqueeze(0))
    yield "flow"
    S, layout = config.frame_samples, request.layout
    source_noise = _noise(request, SOURCE_STREAM, S).reshape(1, -1)
    z, source = model.decoder_input(z, heard, _phase_at_start(request, heard), source_noise)
    waveform = model.dec(z, g, source)[0]
    yield "decoder"
    return PlainResult(waveform[layout.first_decoded_frame * S : layout.end_decoded_frame * S], estimated)


def _noise(request: WindowRequest, stream: int, num_columns: int) -> Tensor:
    """`[P, num_columns]`"""
    frame, P = request.window_frame, request.layout.window_frames
    return torch.from_numpy(PositionalNoise(request.noise_seed or 0, stream, num_columns).rows(frame, frame + P))


def _phase_at_start(request: WindowRequest, heard_hz: Tensor) -> Tensor:
    """Of the source before the window, from that before the decoded part."""
    config, first = request.voice.config, request.layout.first_decoded_frame
    phase = torch.tensor([request.initial_phase], dtype=torch.float64)
    if first == 0:
        return phase
    advance = phase_after(heard_hz[:, :first], config.sample_rate_hz, config.frame_samples)[:, -1]
    return torch.remainder(phase - advance, 1.0)
