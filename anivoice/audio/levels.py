"""Loudness of a live stream: a noise gate, the volume envelope, a limiter. No gain ever jumps, nothing is delayed.

All of them give the same for any split of the signal, but for the limiter, which looks ahead within what it is fed.
"""

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

GATE_HYSTERESIS_DB = 6.0
"""The gate closes so far below the level at which it opens."""

ENVELOPE_HOPS_PER_S = 400
ENVELOPE_TIME_S = 0.02
"""Time constant of the loudness that the volume envelope compares: about the 40 ms frames of SPEC 9.2."""

ENVELOPE_FLOOR_POWER = 1e-6
"""Added to both powers (SPEC 9.2 clamps the output's RMS at 1e-3): silence on both sides gives gain 1."""

MAX_ENVELOPE_GAIN = 32.0
MAX_GAIN_RATIO_PER_HOP = 1.5
"""Within 2.5 ms: 1/64 per sample at 16 kHz, a third of it at 48 kHz."""

LIMITER_ATTACK_S, MIN_LIMITER_ATTACK_SAMPLES = 0.004, 64
LIMITER_RELEASE_S = 0.3


class _Hops:
    """Cuts signals into hops of equal length and sums their squares. No sum depends on how the signals are split."""

    def __init__(self, num_signals: int, hop_samples: int) -> None:
        self.hop_samples = hop_samples
        self._rest = np.zeros((num_signals, 0), np.float32)

    @property
    def num_waiting(self) -> int:
        """Samples of the hop that is not whole yet."""
        return self._rest.shape[1]

    def feed(self, *signals: Samples) -> list[list[float]]:
        """`[n]` each -> for every hop that became whole the mean square of each signal."""
        joined = np.concatenate([self._rest, np.stack(signals)], axis=1, dtype=np.float32)
        num_hops = joined.shape[1] // self.hop_samples
        whole, self._rest = np.split(joined, [num_hops * self.hop_samples], axis=1)
        hops = whole.reshape(len(signals), num_hops, self.hop_samples)
        powers: list[list[float]] = (np.vecdot(hops, hops).T / self.hop_samples).tolist()
        return powers


class Gate:
    """Open while the signal is loud. Decides every 10 ms, by the RMS of these 10 ms.

    It opens at `gate_db` (0 dB is an RMS of 1) and closes when the level has been `GATE_HYSTERESIS_DB` lower for
    `hold_ms`. It says what need not be computed, and touches no sample: sounds come and go by the crossfade of the
    first and of the last block that is computed. `gate_db` may be set at any time.
    """

    def __init__(self, frame_samples: int, gate_db: float, hold_ms: float = 300) -> None:
        self.frame_samples = frame_samples
        self.gate_db = gate_db
        self.hold_frames = max(round(hold_ms / 10), 1)
        self.reset()

    def reset(self) -> None:
        """Closed, as at the beginning."""
        self._frames_to_hold = 0

    def feed(self, samples: Samples) -> list[bool]:
        """Whole frames `[num_frames * frame_samples]` -> whether each of them is to be heard."""
        frames = samples.reshape(-1, self.frame_samples)
        opening = self.frame_samples * 10 ** (self.gate_db / 10)
        closing = opening * 10 ** (-GATE_HYSTERESIS_DB / 10)
        energies: list[float] = np.vecdot(frames, frames).tolist()
        if energies and min(energies) >= opening:
            self._frames_to_hold = self.hold_frames
            return [True] * len(energies)
        return [self._decide(energy >= (closing if self._frames_to_hold else opening)) for energy in energies]

    def _decide(self, is_loud: bool) -> bool:
        self._frames_to_hold = self.hold_frames if is_loud else max(self._frames_to_hold - 1, 0)
        return self._frames_to_hold > 0


class LiveEnvelope:
    """Draws the loudness of what was made towards that of what was heard (SPEC 9.2, without its frames).

    The gain is `(rms_heard / rms_made) ** (1 - volume_envelope)`, of powers smoothed over 20 ms, interpolated between
    points 2.5 ms apart, each taken from what lies before it. It stays below `MAX_ENVELOPE_GAIN`.
    """

    def __init__(self, rate_hz: int = 48000) -> None:
        self.hop_samples = max(rate_hz // ENVELOPE_HOPS_PER_S, 1)
        self._place = np.arange(self.hop_samples) / self.hop_samples
        self._share = 1 - math.exp(-1 / (ENVELOPE_HOPS_PER_S * ENVELOPE_TIME_S))
        self.reset()

    def reset(self) -> None:
        """Silence before, gain 1."""
        self._hops = _Hops(2, self.hop_samples)
        self._heard = self._made = 0.0
        self._gain, self._next_gain = 1.0, 1.0
        self._is_new = True

    def is_idle(self, volume_envelope: float) -> bool:
        """Whether there is nothing to do, and nothing to look at; a change of that begins from gain 1."""
        is_idle = volume_envelope == 1 and self._gain == self._next_gain == 1
        if is_idle and not self._is_new:
            self.reset()
        return is_idle

    def feed(self, made: Samples, heard: Samples, volume_envelope: float) -> Samples:
        """`made` `[n]` and the input under the same stretch of time `[n]` -> `made` at its new loudness, `[n]`.

        With `volume_envelope` 1 the gain goes to exactly 1, and stays there.
        """
        if self.is_idle(volume_envelope):
            return made
        self._is_new = False
        num_before = self._hops.num_waiting
        points = [self._gain, self._next_gain]
        for heard_power, made_power in self._hops.feed(heard, made):
            self._heard += self._share * (heard_power - self._heard)
            self._made += self._share * (made_power - self._made)
            points.append(self._next_point(points[-1], volume_envelope))
        self._gain, self._next_gain = points[-2:]
        ramps = np.array(points[:-1])[:, None] + np.diff(points)[:, None] * self._place
        gain = ramps.reshape(-1)[num_before : num_before + len(made)]
        return np.asarray(made * gain, np.float32)

    def _next_point(self, gain: float, volume_envelope: float) -> float:
        """The gain at the end of the next hop, `gain` being that at its beginning."""
        ratio = (self._heard + ENVELOPE_FLOOR_POWER) / (self._made + ENVELOPE_FLOOR_POWER)
        wanted: float = min(ratio ** ((1 - volume_envelope) / 2), MAX_ENVELOPE_GAIN)
        return min(max(wanted, gain / MAX_GAIN_RATIO_PER_HOP), gain * MAX_GAIN_RATIO_PER_HOP)


class Limiter:
    """Keeps magnitudes at or below `ceiling`; a signal that stays below comes out bit by bit.

    Without delay: the gain begins to fall 4 ms before a peak, as far as the samples fed with it reach back, and where
    they do not it follows the waveform (a soft flank, no jump). It rises again within 0.3 s.
    """

    def __init__(self, rate_hz: int, ceiling: float = 0.99) -> None:
        self.ceiling = np.float32(ceiling)
        self._attack_samples = max(round(LIMITER_ATTACK_S * rate_hz), MIN_LIMITER_ATTACK_SAMPLES)
        self._release = 1 / (LIMITER_RELEASE_S * rate_hz)
        self.reset()

    def reset(self) -> None:
        """Gain 1."""
        self._gain = 1.0

    def feed(self, samples: Samples) -> Samples:
        """`[n]` -> `[n]`"""
        if not len(samples) or (self._gain == 1 and self._is_below(samples)):
            return samples
        allowed = self.ceiling / np.maximum(np.abs(samples), self.ceiling).astype(np.float64)
        gain = np.minimum(allowed, self._rising(self._falling(allowed)))
        self._gain = float(gain[-1])
        return np.clip((samples * gain).astype(np.float32), -self.ceiling, self.ceiling)

    def _is_below(self, samples: Samples) -> bool:
        """Whether there is nothing to do."""
        return bool(np.maximum.reduce(samples) <= self.ceiling and np.minimum.reduce(samples) >= -self.ceiling)

    def _falling(self, allowed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ramps down before the peaks; where the first one is too near, the ramp begins at the present gain."""
        slope = 1 / self._attack_samples
        place = np.arange(len(allowed)) * slope
        ramps = np.minimum.accumulate((allowed + place)[::-1])[::-1] - place
        return np.asarray(ramps + max(self._gain - ramps[0], 0) * np.maximum(1 - place, 0))

    def _rising(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """No faster up than the release allows, from the present gain on."""
        place = np.arange(1, len(wanted) + 1) * self._release
        risen: NDArray[np.float64] = np.minimum.accumulate(np.minimum(wanted - place, self._gain)) + place
        return np.minimum(risen, 1)
