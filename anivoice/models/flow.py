"""The normalising flow between the prior and the decoder's latent, run in reverse (SPEC 2.3).

Shape letters: B batch, C channels of the latent, H hidden channels, G speaker embedding channels, T frames of 10 ms.
"""

import torch
from torch import Tensor, nn

from anivoice.models.attention import masked
from anivoice.models.pauses import point

NUM_COUPLINGS = 4
NUM_WAVENET_LAYERS = 3
WAVENET_KERNEL = 5

RECEPTIVE_FRAMES = NUM_COUPLINGS * NUM_WAVENET_LAYERS * (WAVENET_KERNEL // 2)
"""One-sided: an output frame depends on no input frame further away than this (24)."""


class WaveNet(nn.Module):
    """Gated convolutions with skip connections, conditioned on the speaker."""

    def __init__(self, hidden_channels: int, gin_channels: int, num_layers: int = NUM_WAVENET_LAYERS) -> None:
        super().__init__()
        H = hidden_channels
        self.hidden_channels = H
        self.cond_layer = nn.Conv1d(gin_channels, 2 * H * num_layers, 1)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(H, 2 * H, WAVENET_KERNEL, padding=WAVENET_KERNEL // 2) for _ in range(num_layers)
        )
        self.res_skip_layers = nn.ModuleList(
            nn.Conv1d(H, 2 * H if i < num_layers - 1 else H, 1) for i in range(num_layers)
        )

    def forward(self, x: Tensor, mask: Tensor | None, g: Tensor) -> Tensor:
        """`x` `[B, H, T]`, `g` `[B, G, 1]`. Returns `[B, H, T]`."""
        H = self.hidden_channels
        conditions = self.cond_layer(g).split(2 * H, dim=1)
        skips = torch.zeros_like(x)
        for in_layer, res_skip, condition in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            tanh_in, sigmoid_in = (in_layer(x) + condition).split(H, dim=1)
            r = res_skip(torch.tanh(tanh_in) * torch.sigmoid(sigmoid_in))
            if r.shape[1] == 2 * H:
                x = masked(x + r[:, :H], mask)
            skips = skips + r[:, -H:]
            point()
        return masked(skips, mask)


class Coupling(nn.Module):
    """Shifts one half of the channels by a function of the other half."""

    def __init__(self, channels: int, hidden_channels: int, gin_channels: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(channels // 2, hidden_channels, 1)
        self.enc = WaveNet(hidden_channels, gin_channels)
        self.post = nn.Conv1d(hidden_channels, channels // 2, 1)

    def reverse(self, z: Tensor, mask: Tensor | None, g: Tensor) -> Tensor:
        """The inverse of the coupling. `[B, C, T]` -> `[B, C, T]`."""
        z0, z1 = z.chunk(2, dim=1)
        hidden = self.enc(masked(self.pre(z0), mask), mask, g)
        shift = masked(self.post(hidden), mask)
        return torch.cat([z0, masked(z1 - shift, mask)], dim=1)

    def shifts_nothing(self) -> bool:
        """Whether the last layer has no weights but zeros, as in small voices, whose flow is never trained."""
        return not any(bool(parameter.any()) for parameter in self.post.parameters())


class Flip(nn.Module):
    """Reverses the channel axis; its own inverse. It has no weights but takes an index in the checkpoint's names."""

    def reverse(self, z: Tensor) -> Tensor:
        return z.flip(1)


class Flow(nn.Module):
    """Coupling, flip, coupling, flip, ... in forward order.

    `is_identity` says that no coupling shifts anything (see `shifts_nothing`): then nothing is computed.
    """

    def __init__(self, channels: int, hidden_channels: int, gin_channels: int) -> None:
        super().__init__()
        self.is_identity = False
        self.flows = nn.ModuleList()
        for _ in range(NUM_COUPLINGS):
            self.flows.append(Coupling(channels, hidden_channels, gin_channels))
            self.flows.append(Flip())

    def reverse(self, z: Tensor, mask: Tensor | None, g: Tensor) -> Tensor:
        """Prior sample `[B, C, T]` -> decoder latent `[B, C, T]`; `g` is the speaker embedding `[B, G, 1]`."""
        if self.is_identity:
            return z
        for layer in reversed(self.flows):
            if isinstance(layer, Coupling):
                z = layer.reverse(z, mask, g)
            else:
                assert isinstance(layer, Flip)
                z = layer.reverse(z)
        return z

    def shifts_nothing(self) -> bool:
        """Whether it is the identity: no coupling shifts anything, and the flips cancel each other."""
        return all(layer.shifts_nothing() for layer in self.flows if isinstance(layer, Coupling))
