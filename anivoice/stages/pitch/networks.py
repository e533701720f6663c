"""rmvpe and fcpe: one network from samples to salience, and its decoding."""

import torch
from torch import Tensor

from anivoice.models.fcpe import Fcpe
from anivoice.models.fcpe_memory import FcpeMemory
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.stream_window import PitchWindow
from anivoice.stages.pitch.methods import PITCH_METHODS
from anivoice.stages.stream_memory import StreamMemory

FCPE_VOICING_THRESHOLD = 0.03
"""Salience from which a frame is voiced.

At the reference's 0.006 noise hums: of white and pink noise at -26 dBFS 98 and 100 % of the frames are voiced, here
none;
of the quietest quarter of the frames of 20 people's speech, with white noise 10 dB below it, 33 and 21 %. Of what Praat
calls voiced 95.7 and 95.6 % are right to half a semitone, in that noise 95.2 and 95.1 %.
"""


class SaliencePitch:
    """`[B, T]` at 16 kHz, on the network's device -> f0 `[B, T//160 + 1]` float32 Hz, 0 = unvoiced (SPEC 5, 6.1)."""

    def __init__(self, network: Rmvpe | Fcpe) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Tensor:
        return self.decode(self.network(samples))

    def decode(self, salience: Tensor) -> Tensor:
        """Salience `[B, T, N]` -> f0 `[B, T]` in Hz."""
        return self.network.decode(salience)


class FcpePitch(SaliencePitch):
    """fcpe, which can remember a stream."""

    network: Fcpe

    def __init__(self, network: Fcpe, voicing_threshold: float = FCPE_VOICING_THRESHOLD) -> None:
        super().__init__(network)
        self.voicing_threshold = voicing_threshold

    def decode(self, salience: Tensor) -> Tensor:
        """Salience `[B, T, N]` -> f0 `[B, T]` in Hz."""
        return self.network.decode(salience, self.voicing_threshold)

    @torch.no_grad()
    def stream(
        self, samples: Tensor, memory: StreamMemory, first_frame: int, first_wanted: int, num_ahead: int
    ) -> Tensor:
        """A window `[1, n]` of a stream that begins at its frame `first_frame` -> f0 `[1, T]` of the frames from
        `first_wanted` to the window's end. The next window will want it from `num_ahead` before that end.
        """
        pitch = memory.of("pitch", self.network, lambda: FcpeMemory(memory.assumed_frames > 0))
        window = PitchWindow(pitch, first_frame, first_wanted, num_ahead, PITCH_METHODS["fcpe"].context_frames)
        return self.decode(self.network.stream(samples, window))
