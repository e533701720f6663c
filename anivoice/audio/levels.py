"""Loudness of a live stream: a noise gate, the volume envelope, a limiter. No gain ever jumps, nothing is delayed.

All of them give the same for any split of the signal, but for the limiter, which looks ahead within what it is fed.
"""

from dataclasses import dataclass

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

LIMITER_ATTACK_S = 0.002
LIMITER_RELEASE_S = 0.3


@dataclass(frozen=True)
class GateState:
    """What the gate says about a block."""

    is_open: bool
    """Whether any sample of the block has a gain above 0."""

    gain: Samples
    """`[n]`, 0..1, for every sample of the block."""


class Gate:
    """Open while the signal is loud. Decides every 10 ms, by the RMS of the 10 ms before.

    It opens at `gate_db` (0 dB is an RMS of 1) and closes when the level has been `GATE_HYSTERESIS_DB` lower for
    `hold_ms`. The gain follows in straight ramps. Since a decision comes up to 10 ms after the sound, apply the gain
    to a signal delayed by 10 ms and `attack_ms` if no onset may be cut.
    """

    def __init__(
        self, rate_hz: int, gate_db: float, hold_ms: float = 250, attack_ms: float = 10, release_ms: float = 50
    ) -> None:
        self.frame_samples = max(rate_hz // 100, 1)
        self.gate_db = gate_db
        self.hold_frames = max(round(hold_ms / 10), 1)
        self._rise = min(10 / (attack_ms * self.frame_samples), 1.0)
        self._fall = min(10 / (release_ms * self.frame_samples), 1.0)
        self.reset()

    def reset(self) -> None:
        """Closed, as at the beginning."""
        self._gain = 0.0
        self._frames_to_hold = 0
        self._energy = 0.0
        self._num_in_frame = 0

    def feed(self, samples: Samples) -> GateState:
        """`[n]` -> the gains of these samples, `[n]`."""
        gain = np.zeros(len(samples))
        at = 0
        while at < len(samples):
            stop = min(at + self.frame_samples - self._num_in_frame, len(samples))
            gain[at:stop] = self._ramp(stop - at)
            self._energy += float(np.sum(np.square(samples[at:stop], dtype=np.float64)))
            self._num_in_frame += stop - at
            if self._num_in_frame == self.frame_samples:
                self._decide()
            at = stop
        return GateState(bool(gain.any()), gain.astype(np.float32))

    def _decide(self) -> None:
        """At the end of a frame."""
        level_db = 10 * np.log10(self._energy / self.frame_samples + 1e-30)
        is_open = self._frames_to_hold > 0
        if level_db >= self.gate_db - (GATE_HYSTERESIS_DB if is_open else 0):
            self._frames_to_hold = self.hold_frames
        else:
            self._frames_to_hold = max(self._frames_to_hold - 1, 0)
        self._energy, self._num_in_frame = 0.0, 0

    def _ramp(self, num_samples: int) -> NDArray[np.float64]:
        """The gain's way towards 1 (open) or 0 (closed)."""
        slope = self._rise if self._frames_to_hold else -self._fall
        track: NDArray[np.float64] = np.clip(self._gain + slope * np.arange(1, num_samples + 1), 0, 1)
        self._gain = float(track[-1])
        return track


class LiveEnvelope:
    """Draws the loudness of what was made towards that of what was heard (SPEC 9.2, without its frames).

    The gain is `(rms_heard / rms_made) ** (1 - volume_envelope)`, of powers smoothed over 20 ms, interpolated between
    points 2.5 ms apart, each taken from what lies before it. It stays below `MAX_ENVELOPE_GAIN`.
    """

    def __init__(self, rate_hz: int = 48000) -> None:
        self.hop_samples = max(rate_hz // ENVELOPE_HOPS_PER_S, 1)
        self._share = 1 - np.exp(-1 / (ENVELOPE_HOPS_PER_S * ENVELOPE_TIME_S))
        self.reset()

    def reset(self) -> None:
        """Silence before, gain 1."""
        self._powers = np.zeros(2)
        self._energies = np.zeros(2)
        self._num_in_hop = 0
        self._gain, self._next_gain = 1.0, 1.0

    def feed(self, made: Samples, heard: Samples, volume_envelope: float) -> Samples:
        """`made` `[n]` and the input under the same stretch of time `[n]` -> `made` at its new loudness, `[n]`.

        With `volume_envelope` 1 the gain goes to exactly 1, and stays there: feed always, so that a change is smooth.
        """
        if volume_envelope == 1 and self._gain == self._next_gain == 1:
            self.reset()
            return made
        place = self._num_in_hop + np.arange(len(made))
        points = [self._gain, self._next_gain]
        for energies in self._whole_hops(np.square(np.stack([heard, made]), dtype=np.float64)):
            points.append(self._next_point(energies, points[-1], volume_envelope))
        self._gain, self._next_gain = points[-2:]
        return (made * np.interp(place / self.hop_samples, np.arange(len(points)), points)).astype(np.float32)

    def _whole_hops(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[2, n]` -> the sums over the hops that end in it, `[hops, 2]`; the rest is kept for the next time."""
        ends = np.arange(self.hop_samples - self._num_in_hop, squares.shape[1] + 1, self.hop_samples)
        sums = np.stack([part.sum(axis=1) for part in np.split(squares, ends, axis=1)])
        sums[0] += self._energies
        self._energies = sums[-1]
        self._num_in_hop = (self._num_in_hop + squares.shape[1]) % self.hop_samples
        return np.asarray(sums[:-1])

    def _next_point(self, energies: NDArray[np.float64], gain: float, volume_envelope: float) -> float:
        """The gain at the end of the next hop, `gain` being that at its beginning."""
        self._powers += self._share * (energies / self.hop_samples - self._powers)
        heard, made = self._powers.tolist()
        ratio = (heard + ENVELOPE_FLOOR_POWER) / (made + ENVELOPE_FLOOR_POWER)
        wanted = min(ratio ** ((1 - volume_envelope) / 2), MAX_ENVELOPE_GAIN)
        return float(min(max(wanted, gain / MAX_GAIN_RATIO_PER_HOP), gain * MAX_GAIN_RATIO_PER_HOP))


class Limiter:
    """Keeps magnitudes at or below `ceiling`; a signal that stays below comes out bit by bit.

    Without delay: the gain begins to fall 2 ms before a peak, as far as the samples fed with it reach back, and where
    they do not it follows the waveform (a soft flank, no jump). It rises again within 0.3 s.
    """

    def __init__(self, rate_hz: int, ceiling: float = 0.99) -> None:
        self.ceiling = np.float32(ceiling)
        self._attack_samples = max(round(LIMITER_ATTACK_S * rate_hz), 1)
        self._release = 1 / (LIMITER_RELEASE_S * rate_hz)
        self.reset()

    def reset(self) -> None:
        """Gain 1."""
        self._gain = 1.0

    def feed(self, samples: Samples) -> Samples:
        """`[n]` -> `[n]`"""
        magnitudes = np.abs(samples)
        if not len(samples) or (self._gain == 1 and magnitudes.max() <= self.ceiling):
            return samples
        allowed = self.ceiling / np.maximum(magnitudes, self.ceiling).astype(np.float64)
        gain = np.minimum(allowed, self._rising(self._falling(allowed)))
        self._gain = float(gain[-1])
        return np.clip((samples * gain).astype(np.float32), -self.ceiling, self.ceiling)

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
