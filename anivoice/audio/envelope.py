"""The volume envelope: the output's loudness is drawn towards the input's (SPEC 9).

`volume_envelope` 0 gives the input's envelope, 1 leaves the output as it is.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MIN_OUTPUT_RMS = 1e-6
MIN_LIVE_RMS = 1e-3

Samples = NDArray[np.float32] | NDArray[np.float64]


class FrameRms:
    """RMS of centred frames of a signal that comes in pieces: `feed` them, then `result`.

    Frame `i` covers `frame_samples` around sample `i * hop_samples`, zeros beyond the ends; `1 + n // hop` frames.
    `frame_samples` must be twice `hop_samples`: the sums of squares of whole hops are all that is kept.
    """

    def __init__(self, hop_samples: int) -> None:
        self.hop_samples = hop_samples
        self._num_samples = 0
        self._sums: list[float] = []

    def feed(self, samples: Samples) -> None:
        squares = np.square(samples.astype(np.float64))
        at = self._num_samples
        self._num_samples += len(squares)
        if not len(squares):
            return
        hops = np.arange(at // self.hop_samples, (self._num_samples - 1) // self.hop_samples + 1)
        starts = np.maximum(hops * self.hop_samples - at, 0)
        sums = np.add.reduceat(squares, starts)
        if at % self.hop_samples:
            self._sums[-1] += float(sums[0])
            sums = sums[1:]
        self._sums.extend(sums.tolist())

    def result(self) -> NDArray[np.float64]:
        """`[1 + n // hop]`"""
        num_frames = 1 + self._num_samples // self.hop_samples
        sums = np.zeros(num_frames + 1)
        sums[1 : 1 + len(self._sums)] = self._sums
        return np.sqrt((sums[:-1] + sums[1:]) / (2 * self.hop_samples))


class VolumeEnvelope:
    """The gain of every output sample, from the frame RMS of input and output (both one second long, half apart)."""

    def __init__(
        self,
        input_rms: NDArray[np.float64],
        output_rms: NDArray[np.float64],
        num_samples: int,
        volume_envelope: float,
    ) -> None:
        self.input_rms = input_rms
        self.output_rms = output_rms
        self.num_samples = num_samples
        self.volume_envelope = volume_envelope

    def gain(self, start: int, stop: int) -> NDArray[np.float64]:
        """Gain of the output samples `start` to `stop`: `input ** (1 - v) * output ** (v - 1)`."""
        v = self.volume_envelope
        wanted = stretched(self.input_rms, self.num_samples, start, stop)
        own = np.maximum(stretched(self.output_rms, self.num_samples, start, stop), MIN_OUTPUT_RMS)
        return np.asarray(wanted ** (1 - v) * own ** (v - 1))


def frame_rms(pieces: Iterable[Samples], hop_samples: int) -> NDArray[np.float64]:
    """`FrameRms` of all pieces."""
    rms = FrameRms(hop_samples)
    for piece in pieces:
        rms.feed(piece)
    return rms.result()


def stretched(values: NDArray[np.float64], num_out: int, start: int, stop: int) -> NDArray[np.float64]:
    """Entries `start` to `stop` of `values` linearly interpolated to `num_out` entries (align_corners false)."""
    position = np.maximum((np.arange(start, stop) + 0.5) * len(values) / num_out - 0.5, 0)
    left = np.minimum(position.astype(np.int64), len(values) - 1)
    right = np.minimum(left + 1, len(values) - 1)
    share = position - left
    return np.asarray(values[left] * (1 - share) + values[right] * share)


def live_gain(heard: Samples, made: Samples, hop_samples: int, volume_envelope: float) -> NDArray[np.float64]:
    """Gain of every sample of `made`, as the reference has it live (SPEC 9.2): frames of four hops, align_corners true.

    `heard` is the input under the same stretch of time and as long as `made`.
    """
    wanted = _stretch_to_ends(_live_rms(heard, hop_samples), len(made))
    own = np.maximum(_stretch_to_ends(_live_rms(made, hop_samples), len(made)), MIN_LIVE_RMS)
    return np.asarray((wanted / own) ** (1 - volume_envelope))


def _live_rms(samples: Samples, hop_samples: int) -> NDArray[np.float64]:
    frame = 4 * hop_samples
    padded = np.pad(samples.astype(np.float64), frame // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop_samples]
    return np.asarray(np.sqrt(np.mean(np.square(frames), axis=1)))


def _stretch_to_ends(values: NDArray[np.float64], num_out: int) -> NDArray[np.float64]:
    """`num_out + 1` points from the first to the last value, the last point left out."""
    position = np.arange(num_out) * (len(values) - 1) / num_out
    return np.interp(position, np.arange(len(values)), values)
