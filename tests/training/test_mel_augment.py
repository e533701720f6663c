"""Changes of log-mel while training: within bounds, each row its own, repeatable."""

import torch

from anivoice.training.mel_augment import FLOOR, change_spectra


def test_rows_change_each_in_its_own_way() -> None:
    mel = torch.randn(1, 60, 80, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1) - 4.0
    changed = change_spectra(mel, torch.Generator().manual_seed(1))
    assert changed.shape == mel.shape
    assert changed.min() >= FLOOR
    assert (changed[0] - changed[1]).abs().mean() > 0.1
    torch.testing.assert_close(changed, change_spectra(mel, torch.Generator().manual_seed(1)))


def test_the_sound_stays_recognisable() -> None:
    band, frame = torch.arange(80) / 80, torch.arange(100).unsqueeze(1) / 100
    mel = (4 * torch.sin(9 * band + 5 * frame) + 2 * torch.cos(20 * frame - 4 * band)).expand(8, 100, 80) - 4.0
    changed = change_spectra(mel, torch.Generator().manual_seed(1))
    for row, other in zip(mel, changed, strict=True):
        assert torch.corrcoef(torch.stack([row.flatten(), other.flatten()]))[0, 1] > 0.7
