"""What a training shows of itself: waveforms of held-out slices, and their spectra as a picture."""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anivoice.models.vits import Synthesizer
from anivoice.stages.pitch.contour import coarse_pitch
from anivoice.training.spectra import VoiceMel
from anivoice.training.voice_data import INT16_SCALE, Slice

PICTURE_MELS = 128
GAP_ROWS = 4
LOWEST_LOG, HIGHEST_LOG = -9.0, 1.0
MAX_PREVIEW_FRAMES = 800


def preview(model: Synthesizer, piece: Slice, content: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The voice's own version of a slice, made from its features `[N, F]` and pitch, and the recording."""
    num_frames = min(piece.num_frames, MAX_PREVIEW_FRAMES)
    real = piece.waveform[: num_frames * model.config.frame_samples].astype(np.float32) / np.float32(INT16_SCALE)
    device = next(model.parameters()).device
    content = content[: num_frames // 2].repeat_interleave(2, dim=0)
    f0_hz = torch.from_numpy(piece.f0_hz[:num_frames])
    noise = torch.randn(1, num_frames * model.config.frame_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = model(
            content.unsqueeze(0).to(device),
            torch.zeros(1, dtype=torch.long, device=device),
            coarse_pitch(f0_hz).unsqueeze(0).to(device),
            f0_hz.unsqueeze(0).to(device),
            source_noise=noise.to(device),
        )
    return made[0].float().cpu().numpy(), real


def mel_picture(waveforms: list[NDArray[np.float32]], sample_rate_hz: int) -> NDArray[np.uint8]:
    """Log-mel spectra one above the other, `[rows, frames, 3]`: black is silent, yellow and white are loud."""
    mel = VoiceMel(sample_rate_hz, PICTURE_MELS)
    bands = []
    for waveform in waveforms:
        spectrum = mel(torch.from_numpy(waveform).unsqueeze(0))[0].numpy()[::-1]
        bands += [spectrum, np.full((GAP_ROWS, spectrum.shape[1]), HIGHEST_LOG, np.float32)]
    shade = (np.concatenate(bands[:-1]) - LOWEST_LOG) / (HIGHEST_LOG - LOWEST_LOG)
    x = shade.clip(0, 1)[..., None]
    colours = np.concatenate([(1.6 * x).clip(0, 1), (2.2 * x - 0.9).clip(0, 1), np.sin(np.pi * x) * 0.6 + x**6], axis=2)
    return (255 * colours.clip(0, 1)).astype(np.uint8)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """An RGB picture `[height, width, 3]` as PNG (RFC 2083: signature, IHDR, one IDAT, IEND)."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
