"""The judge of likeness: an encoder that knows speakers. Of the package Resemblyzer only the weights are read.

Shape letters: L samples at 16 kHz, T frames of 10 ms, M mel bands, P partial utterances, E embedding dimensions.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anivoice.checkpoints.safe_pickle import float_state, load_torch_file
from anivoice.errors import MissingAsset
from anivoice.models.mel import mel_filterbank

RATE_HZ = 16000
INT16_SCALE = 32767

NUM_MELS, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES = 40, 400, 160
EMBEDDING_SIZE, NUM_LSTM_LAYERS = 256, 3
PARTIAL_FRAMES = 160
PARTIALS_PER_SECOND = 1.3
MIN_LAST_COVERAGE = 0.75

LOUDNESS_DB = -30.0
VAD_WINDOW_SAMPLES = 480
VAD_MODE = 3
VAD_SMOOTHED_WINDOWS = 8
VAD_KEPT_SILENCE_WINDOWS = 3

Samples = NDArray[np.float32]


class SpeakerEncoder(nn.Module):
    """GE2E's encoder (Wan et al., 2018) with the weights of Resemblyzer: mel frames -> a unit vector per utterance."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(NUM_MELS, EMBEDDING_SIZE, NUM_LSTM_LAYERS, batch_first=True)
        self.linear = nn.Linear(EMBEDDING_SIZE, EMBEDDING_SIZE)
        filters = mel_filterbank(NUM_MELS, MEL_WINDOW_SAMPLES, 0.0, RATE_HZ / 2, False)
        self.register_buffer("filters", filters, persistent=False)

    @classmethod
    def load(cls) -> "SpeakerEncoder":
        """Raises MissingAsset if the packages are not installed."""
        spec = find_spec("resemblyzer")
        weights = Path(next(iter(spec.submodule_search_locations or [""]))) / "pretrained.pt" if spec else None
        if weights is None or not weights.is_file():
            raise MissingAsset(
                "the judge of speakers needs the weights in the package Resemblyzer: "
                "`pip install --no-deps Resemblyzer==0.1.4` (its dependencies are not needed)"
            )
        if find_spec("webrtcvad") is None:
            raise MissingAsset("the judge of speakers needs the package webrtcvad: `pip install anivoice[judge]`")
        content = load_torch_file(weights).get("model_state")
        state = float_state(content if isinstance(content, dict) else {}, weights)
        encoder = cls()
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        return encoder.eval().requires_grad_(False)

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """16 kHz audio `[L]` -> a unit vector `[E]`: the mean over pieces of 1.6 s."""
        speech = without_silence(louder(samples))
        num_partials, step = partials(len(speech))
        needed = ((num_partials - 1) * step + PARTIAL_FRAMES) * MEL_HOP_SAMPLES
        mel = self._mel(np.pad(speech, (0, max(needed - len(speech), 0))))
        pieces = torch.stack([mel[i * step : i * step + PARTIAL_FRAMES] for i in range(num_partials)])
        _, (hidden, _) = self.lstm(pieces)
        each = F.normalize(F.relu(self.linear(hidden[-1])), dim=1)
        return np.asarray(F.normalize(each.mean(0), dim=0).numpy())

    def _mel(self, samples: Samples) -> Tensor:
        """`[L]` -> power mel `[T, M]`, zeros beyond the ends."""
        x = F.pad(torch.from_numpy(samples), (MEL_WINDOW_SAMPLES // 2, MEL_WINDOW_SAMPLES // 2))
        window = torch.hann_window(MEL_WINDOW_SAMPLES)
        spectrum = torch.stft(x, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, window=window, center=False, return_complex=True)
        return (self.filters @ (spectrum.real.square() + spectrum.imag.square())).t()


def partials(num_samples: int) -> tuple[int, int]:
    """How many pieces of 1.6 s, and the frames from one to the next. A last piece less than 3/4 full is left out."""
    num_frames = -(-(num_samples + 1) // MEL_HOP_SAMPLES)
    step = round(RATE_HZ / PARTIALS_PER_SECOND / MEL_HOP_SAMPLES)
    count = len(range(0, max(1, num_frames - PARTIAL_FRAMES + step + 1), step))
    coverage = (num_samples / MEL_HOP_SAMPLES - (count - 1) * step) / PARTIAL_FRAMES
    return (count - 1 if coverage < MIN_LAST_COVERAGE and count > 1 else count), step


def louder(samples: Samples) -> Samples:
    """Raised to -30 dB RMS if it is softer."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return samples if rms == 0 else (samples * max(1.0, 10 ** (LOUDNESS_DB / 20) / rms)).astype(np.float32)


def without_silence(samples: Samples) -> Samples:
    """What WebRTC's detector takes for speech, smoothed over 240 ms and 90 ms wider; everything if that is nothing."""
    import webrtcvad

    num = len(samples) // VAD_WINDOW_SAMPLES
    vad = webrtcvad.Vad(VAD_MODE)
    pcm = np.round(samples.clip(-1, 1) * INT16_SCALE).astype("<i2")[: num * VAD_WINDOW_SAMPLES].reshape(num, -1)
    flags = np.array([vad.is_speech(window.tobytes(), RATE_HZ) for window in pcm], dtype=np.float64)
    before = (VAD_SMOOTHED_WINDOWS - 1) // 2
    padded = np.pad(flags, (before, VAD_SMOOTHED_WINDOWS - 1 - before))
    smooth = np.convolve(padded, np.ones(VAD_SMOOTHED_WINDOWS), mode="valid") if num else flags
    spoken = smooth > VAD_SMOOTHED_WINDOWS / 2
    kept = np.convolve(spoken, np.ones(2 * VAD_KEPT_SILENCE_WINDOWS + 1), mode="same") > 0.5 if num else spoken
    mask = np.repeat(kept, VAD_WINDOW_SAMPLES)
    return samples[: len(mask)][mask] if mask.any() else samples
