"""A voice's network, placed on a device. What is computed with it of a window says `window`.

Shape letters: B windows, T frames of 10 ms, S output samples per frame.
"""

import threading

import torch
from torch import Tensor

from anivoice.errors import InvalidParameter
from anivoice.models.cpu.decoder import CpuDecoder
from anivoice.models.cpu.threads import WorkThreads
from anivoice.models.vits import Synthesizer
from anivoice.stages.sinc_resampler import kernel_on

LATENT_STREAM, SOURCE_STREAM = 0, 1
NUM_RESAMPLING_FRAMES = 2
"""One-sided reach of the formant shift's own steps: interpolation and resampling."""

MAX_KERNELS = 8
"""Formant shifts whose resampling kernels are kept, about 1 MB each."""

MAX_SMALL_PRODUCTS = 150_000_000
"""Of a frame in the decoder. With fewer, a live window takes less time on one thread than on two (measured, 27 frames:
with 18 to 96 million 0.77 to 0.93 of it; with 216 million as long, with 384 million 1.15 times as long or more).
"""


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

    def decode(self, z: Tensor, g: Tensor, source: Tensor | None, *, shared: bool) -> Tensor:
        """`[B, T * S]` float32 by the decoder that suits the device; on the CPU `shared` out or not."""
        if self.cpu_decoder is not None:
            return self.cpu_decoder(z, g, source, shared=shared)
        waveform: Tensor = self.model.dec(z, g, source)
        return waveform.float()

    def checked_speaker(self, speaker_id: int) -> int:
        """`speaker_id` if the voice has it, else raises InvalidParameter."""
        if speaker_id >= self.config.num_speakers:
            raise InvalidParameter(
                f"speaker_id: this voice has {self.config.num_speakers} speakers, numbered from 0; {speaker_id} is none"
            )
        return speaker_id
