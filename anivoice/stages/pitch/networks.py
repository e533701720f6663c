"""rmvpe and fcpe: one network from samples to salience, and its decoding."""

import torch
from torch import Tensor

from anivoice.models.fcpe import Fcpe
from anivoice.models.fcpe_memory import FcpeMemory
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.steps import Steps, finish
from anivoice.models.stream_window import PitchWindow
from anivoice.stages.pitch.methods import PITCH_METHODS
from anivoice.stages.stream_memory import StreamMemory


class SaliencePitch:
    """`[B, T]` at 16 kHz, on the network's device -> f0 `[B, T//160 + 1]` float32 Hz, 0 = unvoiced (SPEC 5, 6.1)."""

    def __init__(self, network: Rmvpe | Fcpe) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Tensor:
        return finish(self.steps(samples))

    def steps(self, samples: Tensor) -> Steps[Tensor]:
        """The same with pauses."""
        return self.network.decode((yield from self.network.steps(samples)))


class FcpePitch(SaliencePitch):
    """fcpe, which can remember a stream."""

    network: Fcpe

    @torch.no_grad()
    def stream(
        self, samples: Tensor, memory: StreamMemory, first_frame: int, first_wanted: int, num_ahead: int
    ) -> Tensor:
        """A window `[1, n]` of a stream that begins at its frame `first_frame` -> f0 `[1, T]` of the frames from
        `first_wanted` to the window's end. The next window will want it from `num_ahead` before that end.
        """
        pitch = memory.of("pitch", self.network, lambda: FcpeMemory(memory.assumed_frames > 0))
        window = PitchWindow(pitch, first_frame, first_wanted, num_ahead, PITCH_METHODS["fcpe"].context_frames)
        return self.network.decode(self.network.stream(samples, window))
