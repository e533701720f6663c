"""The synthesizer on a device: features and f0 of a window -> waveform of the part of it that is wanted.

Shape letters: P frames of 10 ms in the window, F feature dimensions, S output samples per frame.
"""

import math
import threading
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from anivoice.errors import InvalidParameter
from anivoice.models.cpu.decoder import CpuDecoder
from anivoice.models.cpu.threads import WorkThreads
from anivoice.models.sine_source import phase_after
from anivoice.models.steps import named
from anivoice.models.vits import Synthesizer, flow_first_frame
from anivoice.stages.noise import PositionalNoise
from anivoice.stages.pitch.contour import coarse_pitch
from anivoice.stages.sinc_resampler import kernel_on, resample

LATENT_STREAM, SOURCE_STREAM = 0, 1
NUM_RESAMPLING_FRAMES = 2
"""One-sided reach of the formant shift's own steps: interpolation and resampling."""

MAX_KERNELS = 8
"""Formant shifts whose resampling kernels are kept, about 1 MB each."""

MAX_SMALL_PRODUCTS = 150_000_000
"""Of a frame in the decoder. With fewer, a live window takes less time on one thread than on two (measured, 27 frames:
with 18 to 96 million 0.77 to 0.93 of it; with 216 million as long, with 384 million 1.15 times as long or more).
"""


@dataclass(frozen=True)
class Excitation:
    """What a window's synthesis takes beside the features.

    `f0_hz` `[P]` is the pitch to be heard, 0 where unvoiced; None for voices without f0. `initial_phase` is the phase
    of the harmonic source before the window's first frame, in cycles. `noise_seed` None means no noise;
    `noise_frame` is the absolute position of the window's first frame.
    """

    f0_hz: Tensor | None
    initial_phase: float = 0.0
    noise_seed: int | None = None
    noise_frame: int = 0


class VoiceSynthesizer:
    """One voice's network, placed on a device.

    On the CPU in float32 a faster decoder takes the place of the network's own; it works on all `threads`. Of a small
    voice (`is_small`) a live window is too short to be shared out among them.
    `prior_context_frames`: what the prior of a live window hears before what it is wanted for; None: the whole window.
    Where it is limited, a stream's prior can remember instead (`remembers`).
    """

    def __init__(
        self,
        model: Synthesizer,
        device: torch.device,
        dtype: torch.dtype,
        threads: WorkThreads | None = None,
        prior_context_frames: int | None = None,
    ) -> None:
        self.model = model.to(device, dtype)
        self.config = model.config
        self.device = device
        self.dtype = dtype
        self.halo_frames = model.config.decoder_receptive_frames
        self.prior_context_frames = prior_context_frames
        self.remembers = prior_context_frames is not None and device.type == "cpu" and dtype == torch.float32
        self.is_small = model.config.decoder_products_per_frame < MAX_SMALL_PRODUCTS
        self._kernels: dict[int, Tensor] = {}
        self._keeping = threading.Lock()
        self.cpu_decoder: CpuDecoder | None = None
        if device.type == "cpu" and dtype == torch.float32:
            self.cpu_decoder = CpuDecoder(model.dec, threads=threads)

    def steps(
        self,
        features: Tensor,
        excitation: Excitation,
        first_frame: int,
        num_frames: int,
        speaker_id: int = 0,
        formant_shift: float = 0.0,
    ) -> Generator[str, None, Tensor]:
        """Yields the stage's name after each piece of work; returns the waveform `[num_frames * S]` that is wanted.

        All frames of `features` `[P, F]` are context; only the wanted ones and what they depend on are decoded.
        """
        P = features.shape[0]
        if not 0 <= first_frame <= first_frame + num_frames <= P:
            raise ValueError(f"frames {first_frame}..{first_frame + num_frames} are not inside the window of {P}")
        stretched_samples = self.stretched_frame_samples(formant_shift)
        halo_frames = self._halo_frames(stretched_samples)
        start = max(first_frame - halo_frames, 0)
        stop = min(first_frame + num_frames + halo_frames, P)
        g = self.model.speaker(torch.tensor([self.checked_speaker(speaker_id)], device=self.device))
        coarse = self._coarse_pitch(excitation, stretched_samples)
        flow_start = flow_first_frame(start)
        prior_steps = self.model.prior_steps(features.to(self.dtype).unsqueeze(0), coarse, first_frame=flow_start)
        prior = yield from named("prior", prior_steps)
        z = yield from named("flow", self.model.latent_steps(prior, g, self._latent_noise(excitation, flow_start, P)))
        z = z[:, :, start - flow_start : stop - flow_start]
        waveform = yield from self._decode(z, g, excitation, start, stop, stretched_samples)
        S = self.config.frame_samples
        return waveform[(first_frame - start) * S :][: num_frames * S]

    def stretched_frame_samples(self, formant_shift: float) -> int:
        """Samples that a frame is decoded to, before it is resampled back to S: this moves the formants."""
        return round(self.config.frame_samples * 2 ** (formant_shift / 12))

    def resampling_kernel(self, stretched_samples: int) -> Tensor:
        """For `resample` from `stretched_samples` back to S; the latest are kept on the device."""
        with self._keeping:
            kernel = self._kernels.pop(stretched_samples, None)
            if kernel is None:
                kernel = kernel_on(self.device, stretched_samples, self.config.frame_samples)
            self._kernels[stretched_samples] = kernel
            if len(self._kernels) > MAX_KERNELS:
                del self._kernels[next(iter(self._kernels))]
        return kernel

    def _halo_frames(self, stretched_samples: int) -> int:
        """Frames on both sides of the wanted ones that they depend on: more, where several are decoded as one."""
        S = self.config.frame_samples
        if stretched_samples == S:
            return self.halo_frames
        return math.ceil(self.halo_frames * S / min(stretched_samples, S)) + NUM_RESAMPLING_FRAMES

    def _coarse_pitch(self, excitation: Excitation, stretched_samples: int) -> Tensor | None:
        """`[1, P]`. The network is told the pitch it makes, before resampling shifts pitch and formants together."""
        if excitation.f0_hz is None:
            return None
        made_f0_hz = excitation.f0_hz * (self.config.frame_samples / stretched_samples)
        return coarse_pitch(made_f0_hz).to(self.device).unsqueeze(0)

    def _decode(
        self, z: Tensor, g: Tensor, excitation: Excitation, start: int, stop: int, stretched_samples: int
    ) -> Generator[str, None, Tensor]:
        """Waveform `[(stop - start) * S]` float32 of the latent `z` of the frames `start` to `stop`."""
        S = self.config.frame_samples
        num_frames = stop - start
        f0, phase = self._source_input(excitation, start, stop)
        noise = self._source_noise(excitation, start, stop)
        if stretched_samples == S:
            z, source = self.model.decoder_input(z, f0, phase, noise)
            return (yield from self.waveform_steps(z, g, source))[0]
        # The stretched frames lie on one grid for all windows of a stream, whatever frame the window begins with.
        begin = (excitation.noise_frame + start) * stretched_samples
        end = begin + num_frames * stretched_samples
        first, last = begin // S, -(-end // S)
        offset_frames = (first * S - begin) / stretched_samples
        stretch = stretched_samples / S
        z, source = self.model.decoder_input(z, f0, phase, noise, last - first, stretch, offset_frames)
        waveform = yield from self.waveform_steps(z, g, source)
        wanted = waveform[:, begin - first * S : end - first * S]
        return resample(wanted, stretched_samples, S)[0, : num_frames * S]

    def waveform_steps(
        self, z: Tensor, g: Tensor, source: Tensor | None, *, shared: bool = True
    ) -> Generator[str, None, Tensor]:
        """`[B, T * S]` float32 by the decoder that suits the device; on the CPU in tiles, `shared` out or not."""
        if self.cpu_decoder is None:
            waveform: Tensor = self.model.dec(z, g, source)
            yield "decoder"
            return waveform.float()
        tiles = []
        for tile in self.cpu_decoder.decode_tiles(z, g, source, shared=shared):
            tiles.append(tile)
            yield "decoder"
        return torch.cat(tiles, dim=1)

    def checked_speaker(self, speaker_id: int) -> int:
        """`speaker_id` if the voice has it, else raises InvalidParameter."""
        if speaker_id >= self.config.num_speakers:
            raise InvalidParameter(
                f"speaker_id: this voice has {self.config.num_speakers} speakers, numbered from 0; {speaker_id} is none"
            )
        return speaker_id

    def _latent_noise(self, excitation: Excitation, start: int, stop: int) -> Tensor | None:
        if excitation.noise_seed is None:
            return None
        noise = PositionalNoise(excitation.noise_seed, LATENT_STREAM, self.config.inter_channels)
        rows = noise.rows(excitation.noise_frame + start, excitation.noise_frame + stop)
        return torch.from_numpy(rows).to(self.device, self.dtype).t().unsqueeze(0)

    def _source_noise(self, excitation: Excitation, start: int, stop: int) -> Tensor | None:
        if excitation.noise_seed is None or excitation.f0_hz is None:
            return None
        noise = PositionalNoise(excitation.noise_seed, SOURCE_STREAM, self.config.frame_samples)
        rows = noise.rows(excitation.noise_frame + start, excitation.noise_frame + stop)
        return torch.from_numpy(rows).to(self.device).reshape(1, -1)

    def _source_input(self, excitation: Excitation, start: int, stop: int) -> tuple[Tensor | None, Tensor | None]:
        """f0 `[1, stop - start]` and the source's phase `[1]` before frame `start`."""
        if excitation.f0_hz is None:
            return None, None
        f0 = excitation.f0_hz.to(torch.float32).to(self.device).unsqueeze(0)
        phase = torch.tensor([excitation.initial_phase], dtype=torch.float64).to(torch.float32).to(self.device)
        if start > 0:
            phase = phase_after(f0[:, :start], self.config.sample_rate_hz, self.config.frame_samples, phase)[:, -1]
        return f0[:, start:stop], phase
