"""rmvpe and fcpe: one network from samples to salience, and its decoding."""

import torch
from torch import Tensor

from anivoice.models.fcpe import Fcpe
from anivoice.models.rmvpe import Rmvpe
from anivoice.models.steps import Steps, finish


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
