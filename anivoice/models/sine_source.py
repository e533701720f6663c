"""The harmonic source of the NSF decoders: a sine that follows f0, plus noise (SPEC 3).

Shape letters: B batch, T frames of 10 ms, S output samples per frame, H sines.
"""

import torch
from torch import Tensor, nn

SINE_AMPLITUDE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = SINE_AMPLITUDE / 3


def phase_after(f0_hz: Tensor, sample_rate_hz: int, frame_samples: int, initial_phase: Tensor | None = None) -> Tensor:
    """Phase of the fundamental at the end of every frame, in cycles 0..1, float64 `[B, T]` (float32 on MPS).

    `f0_hz` `[B, T]`; `initial_phase` `[B]`, the phase before the first sample. Every frame's advance is reduced to one
    cycle before it is summed, so that the sum stays exact over hours.
    """
    precise = torch.float32 if f0_hz.device.type == "mps" else torch.float64
    advance = torch.remainder(f0_hz.to(precise) / sample_rate_hz, 1.0) * frame_samples
    phase = torch.cumsum(torch.remainder(advance, 1.0), dim=1)
    if initial_phase is not None:
        phase = phase + initial_phase.to(precise).unsqueeze(1)
    return torch.remainder(phase, 1.0)


def sines(
    f0_hz: Tensor,
    sample_rate_hz: int,
    frame_samples: int,
    num_sines: int = 1,
    initial_phase: Tensor | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Sines at f0, 2 f0, ... with the amplitude 0.1 where voiced; noise everywhere. float32 `[B, T * S, H]`.

    `f0_hz` `[B, T]`, 0 where unvoiced; `initial_phase` `[B]` in cycles, of the fundamental before the first sample
    (the first sample already carries one step); `noise` standard normal `[B, T * S, H]`, None for no noise.
    """
    B, T = f0_hz.shape
    device = f0_hz.device
    step = torch.arange(1, frame_samples + 1, device=device, dtype=torch.float32)
    columns = []
    for harmonic in range(1, num_sines + 1):
        f = f0_hz.float() * harmonic
        start = None if initial_phase is None else initial_phase * harmonic
        end = phase_after(f, sample_rate_hz, frame_samples, start)
        first = torch.zeros(B, 1, device=device, dtype=end.dtype) if start is None else start.to(end.dtype).unsqueeze(1)
        at_frame = torch.cat([torch.remainder(first, 1.0), end[:, :-1]], dim=1).float()
        per_sample = torch.remainder(f / sample_rate_hz, 1.0)
        phase = at_frame.unsqueeze(2) + per_sample.unsqueeze(2) * step
        columns.append(torch.sin(2 * torch.pi * torch.remainder(phase, 1.0)).reshape(B, T * frame_samples))
    voiced = (f0_hz > 0).float().repeat_interleave(frame_samples, dim=1).unsqueeze(2)
    out = SINE_AMPLITUDE * torch.stack(columns, dim=2) * voiced
    if noise is not None:
        out = out + noise * (VOICED_NOISE * voiced + UNVOICED_NOISE * (1 - voiced))
    return out


class HarmonicSource(nn.Module):
    """Merges the sines into one excitation signal by a learned linear map and a tanh."""

    def __init__(self, sample_rate_hz: int, frame_samples: int, num_sines: int = 1) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.frame_samples = frame_samples
        self.num_sines = num_sines
        self.l_linear = nn.Linear(num_sines, 1)

    def forward(self, f0_hz: Tensor, initial_phase: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """`f0_hz` `[B, T]`, `initial_phase` `[B]`, `noise` `[B, T * S]` -> excitation `[B, 1, T * S]`.

        The sines are made in float32 whatever the weights' precision is.
        """
        if noise is not None:
            noise = noise.unsqueeze(2).expand(-1, -1, self.num_sines)
        x = sines(f0_hz, self.sample_rate_hz, self.frame_samples, self.num_sines, initial_phase, noise)
        return torch.tanh(self.l_linear(x.to(self.l_linear.weight.dtype))).transpose(1, 2)
