"""From a salience over pitch bins to a pitch: the decoding that RMVPE and FCPE share (SPEC 5.3, 6.1)."""

import torch
from torch import Tensor

REFERENCE_HZ = 10.0
NEIGHBOUR_BINS = 4


def decode_cents(salience: Tensor, bins_cents: Tensor, threshold: float, repeat_edges: bool = False) -> Tensor:
    """Mean of the bins' cents around the (first) highest bin, weighted by salience; 0 where unvoiced.

    salience `[..., N]`, bins_cents `[N]` -> `[...]` in the dtype of salience. A frame is unvoiced if its highest
    salience is <= threshold, or if it holds NaN. Of the nine bins around the highest one, those outside 0..N-1 do not
    count; with `repeat_edges` the bin at the edge counts again for each of them (FCPE).
    """
    num_bins = salience.shape[-1]
    peak = salience.amax(dim=-1, keepdim=True)
    indices = torch.arange(num_bins, device=salience.device)
    centre = torch.where(salience == peak, indices, num_bins - 1).amin(dim=-1, keepdim=True)
    window = centre + torch.arange(-NEIGHBOUR_BINS, NEIGHBOUR_BINS + 1, device=salience.device)
    clamped = window.clamp(0, num_bins - 1)
    weights = salience.gather(-1, clamped)
    if not repeat_edges:
        weights = weights * (window == clamped)
    cents = (weights * bins_cents[clamped]).sum(-1) / weights.sum(-1)
    return torch.where(peak[..., 0] > threshold, cents, 0.0)


def cents_to_hz(cents: Tensor) -> Tensor:
    """10 Hz * 2^(cents/1200); 0 cents stand for unvoiced and give 0 Hz."""
    return torch.where(cents > 0, REFERENCE_HZ * torch.exp2(cents / 1200.0), 0.0)
