"""What comes in jerks goes out evenly, with no more delay than the network needs: the rules of the page's buffer.

All times are in samples. `now` counts what has been played, `received` what has come, `position` is the place in the
stream that is played next. The delay is `now - position`; it is led to what 95 % of the arrivals need: by changes of
rate of at most half a percent, and after a stall by several short cuts where the sound is like itself. When nothing is
left, the last period of the sound is repeated and faded out; nothing is ever begun or ended hard.
"""

import math
import threading

import numpy as np

from anivoice.client.microphone.lateness import Lateness
from anivoice.client.microphone.splices import HALF_TAPS, Samples, likest_place, values_at

CAPACITY_S = 10.0
HISTORY_S = 0.1
FADE_S = 0.005
RESERVE_S = 0.004
"""Beside the fade, the taps and the grain: an arrival may be up to a grain later than is seen."""
FIRST_RESERVE_S = 0.02
CONCEALED_S = 0.06
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.0025, 0.0125
MAX_RATE_CHANGE = 0.005
SETTLING = 0.0005
ADJUST_UNTIL_S, SLOW_FROM_S, HASTEN_FROM_S = 0.0015, 0.0025, 0.008
"""Too little delay is mended before the reserve is gone; too much of it has time, a grain and a half at least."""
CUT_UNTIL_S, CUT_FROM_S = 0.005, 0.06
RECOVERY_BLOCKS, MIN_RECOVERY_S = 2.5, 0.4
MAX_CUT_BLOCKS, MIN_MAX_CUT_S = 0.75, 0.12
SEARCH_S = 0.005


class JitterBuffer:
    """Mono. One thread writes what comes, another reads what is to be played. `grain_s`: how much it reads at once."""

    def __init__(self, rate_hz: int, block_s: float = 0.16, grain_s: float = 0.01) -> None:
        self.rate_hz = rate_hz
        self.block_s = block_s
        self._fade = round(FADE_S * rate_hz)
        self._weights = (0.5 - 0.5 * np.cos(np.pi * np.arange(1, self._fade + 1) / (self._fade + 1))).astype(np.float32)
        self._min_level = self._fade + HALF_TAPS + 1
        self._reserve = self._min_level + round((RESERVE_S + grain_s) * rate_hz)
        self._first_wait = round(max(FIRST_RESERVE_S, 2 * grain_s) * rate_hz)
        self._hasten_from_s = max(HASTEN_FROM_S, 1.5 * grain_s)
        self._history = round(HISTORY_S * rate_hz)
        self._capacity = self._history + round(CAPACITY_S * rate_hz)
        self._lock = threading.Lock()
        self._overlay: Samples = np.zeros(0, np.float32)
        self.num_gaps = self.num_cuts = self.num_cut_samples = self.num_concealed = self.num_lost = 0
        self._begin()

    def _begin(self) -> None:
        self._lateness = Lateness()
        self._store = np.zeros(self._history, np.float32)
        self._origin = -self._history
        self._position = 0.0
        self._now = self.received = 0
        self._rate_change = 0.0
        self._is_playing = self._has_begun = self._has_played = False
        self._is_settling = self._is_recovering = False
        self._wait = 0
        self._faded_in = self._fade
        self._last_arrival = -1
        self._since_cut = 0
        self._cut_s = 0.0
        self._between_cuts = 0.0

    @property
    def level(self) -> float:
        """Samples that lie here."""
        return self.received - self._position

    @property
    def position(self) -> float:
        """The place in the stream that is played next, in samples."""
        return self._position

    @property
    def delay(self) -> float:
        """Of the stream against a stream that comes at once, in samples."""
        return self._now - self._position

    @property
    def target(self) -> int:
        """The delay that is aimed at."""
        return self._lateness.usual + self._reserve

    def reset(self) -> None:
        """A new stream begins; what is heard fades out, and the counts go on."""
        with self._lock:
            if self._is_playing and self.level > self._min_level:
                self._overlay = self._extension()
            self._begin()

    def skip(self, num_samples: int) -> None:
        """The sender left so much out: what comes next belongs so much later."""
        with self._lock:
            self._now -= num_samples

    def pause(self, num_samples: int) -> None:
        """Nothing was played for so long, though time went on: what lies here has become so much older."""
        with self._lock:
            self._now += num_samples

    def write(self, samples: Samples) -> None:
        """What came, `[n]`."""
        with self._lock:
            self._note_arrival()
            first_kept = max(int(self._position) - self._history, self._origin)
            kept = self._store[first_kept - self._origin :]
            self._store, self._origin = np.concatenate([kept, samples]), first_kept
            self.received += len(samples)
            surplus = len(self._store) - self._capacity
            if surplus > 0:
                self._position += surplus
                self.num_lost += surplus

    def read(self, num_samples: int) -> Samples:
        """What is to be played next, `[num_samples]`."""
        output = np.zeros(num_samples, np.float32)
        with self._lock:
            if self._is_playing:
                self._steer(num_samples)
            done = 0
            while done < num_samples:
                done += self._fill(output[done:])
        return output

    def _note_arrival(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._now, self._wait = 0, self._first_wait
        if self._now == self._last_arrival:
            return
        self._last_arrival = self._now
        lateness = self._now - self.received
        self._lateness.add(lateness)
        if not self._is_playing and self._has_played:
            self._wait = self.target - self._min_level - lateness

    def _fill(self, output: Samples) -> int:
        """As much as is of one kind; returns how much."""
        self._change_over()
        length = min(self._length_of_one_kind(), len(output))
        if self._is_playing:
            output[:length] = self._stream_values(length)
            self._fade_in(output[:length])
        elif self._has_begun:
            self._wait -= length
            self.num_concealed += length
        self._mix_overlay(output[:length])
        self._now += length
        return length

    def _change_over(self) -> None:
        """From the stream to its extension when nothing is left, and back when there is something again."""
        if self._is_playing and self.level <= self._min_level:
            self._overlay = self._extension()
            self._position += self._fade
            self._is_playing = self._is_recovering = False
            self.num_gaps += 1
        elif not self._is_playing and self._can_begin:
            self._is_playing = self._has_played = True
            self._faded_in = 0
            self._overlay = self._overlay[: self._fade] * (1 - self._weights[: len(self._overlay)])

    @property
    def _can_begin(self) -> bool:
        return self._has_begun and self._wait <= 0 and self.level > self._min_level + self._fade

    def _length_of_one_kind(self) -> int:
        if not self._is_playing:
            return self._wait if self._wait > 0 else self._capacity
        length = math.ceil((self.level - self._min_level) / (1 + self._rate_change))
        if self._is_settling:
            length = min(length, math.ceil((math.floor(self._position) + 1 - self._position) / SETTLING))
        return max(length, 1)

    def _stream_values(self, length: int) -> Samples:
        step = 1 + self._rate_change
        values = self._values(self._position, length, step)
        self._position += length * step
        if self._is_settling and self._position % 1 < 2 * SETTLING:
            self._settle()
        return values

    def _values(self, position: float, length: int, step: float = 1.0) -> Samples:
        start = position - self._origin
        if step == 1 and start == int(start):
            return self._store[int(start) : int(start) + length].copy()
        return values_at(self._store, start + step * np.arange(length, dtype=np.float64))

    def _fade_in(self, output: Samples) -> None:
        weights = self._weights[self._faded_in : self._faded_in + len(output)]
        output[: len(weights)] *= weights
        self._faded_in += len(weights)

    def _mix_overlay(self, output: Samples) -> None:
        part = self._overlay[: len(output)]
        output[: len(part)] += part
        self._overlay = self._overlay[len(part) :]

    def _extension(self) -> Samples:
        """What is heard when the stream ends here: it changes over to its last period, again and again, ever softer."""
        here = int(self._position) - self._origin
        period = self._last_period(here)
        length = round(CONCEALED_S * self.rate_hz)
        softer = 0.5 + 0.5 * np.cos(np.pi * np.arange(length) / length)
        extension = (softer * np.resize(self._closed_period(here, period), length)).astype(np.float32)
        stream = self._values(self._position, self._fade)
        extension[: self._fade] += (1 - self._weights) * (stream - extension[: self._fade])
        return extension

    def _last_period(self, here: int) -> int:
        start, length = here - 2 * self._fade, 2 * self._fade
        longest, shortest = round(LONGEST_PERIOD_S * self.rate_hz), round(SHORTEST_PERIOD_S * self.rate_hz)
        before = self._store[start - longest : start - shortest + length]
        return longest - likest_place(self._store[start : start + length], before)

    def _closed_period(self, here: int, period: int) -> Samples:
        """The last period; its end leads into its own beginning."""
        last, before = self._store[here - period : here], self._store[here - 2 * period : here - period]
        blended = period // 4
        weights = np.zeros(period, np.float32)
        weights[period - blended :] = np.arange(1, blended + 1) / (blended + 1)
        return np.asarray((1 - weights) * last + weights * before, np.float32)

    def _steer(self, num_samples: int) -> None:
        """Once per read: leads the delay to its target."""
        surplus_s = (self.delay - self.target) / self.rate_hz
        self._since_cut += num_samples
        if not self._is_recovering and surplus_s > CUT_FROM_S:
            self._begin_recovery(surplus_s)
        if self._is_recovering:
            self._recover(surplus_s)
        else:
            self._adjust_rate(surplus_s)

    def _adjust_rate(self, surplus_s: float) -> None:
        size_s = abs(surplus_s)
        if self._rate_change == 0 and -SLOW_FROM_S < surplus_s < self._hasten_from_s and self._position % 1 == 0:
            return
        self._is_settling = size_s < ADJUST_UNTIL_S
        change = min(MAX_RATE_CHANGE, max(size_s / 2, 2 * SETTLING))
        self._rate_change = SETTLING if self._is_settling else math.copysign(change, surplus_s)

    def _settle(self) -> None:
        """On a whole sample: from here on samples are played as they came."""
        self._is_settling = False
        self._rate_change = 0.0
        self._position = float(math.floor(self._position))

    def _begin_recovery(self, surplus_s: float) -> None:
        """The surplus is to be gone after two and a half blocks: so much in each cut, so much is heard between two."""
        self._is_recovering = True
        recovery_s = max(RECOVERY_BLOCKS * self.block_s, MIN_RECOVERY_S)
        longest_s = max(MAX_CUT_BLOCKS * self.block_s, MIN_MAX_CUT_S)
        num_cuts = math.ceil(surplus_s / longest_s)
        self._cut_s = surplus_s / num_cuts
        self._between_cuts = recovery_s / num_cuts * self.rate_hz
        self._since_cut = math.ceil(self._between_cuts)

    def _recover(self, surplus_s: float) -> None:
        self._rate_change = 0.0
        self._is_settling = False
        if surplus_s < CUT_UNTIL_S:
            self._is_recovering = False
        elif self._faded_in >= self._fade and len(self._overlay) == 0 and self._since_cut >= self._between_cuts:
            self._cut(round(min(self._cut_s, surplus_s) * self.rate_hz))

    def _cut(self, wanted: int) -> None:
        """Leaves out about `wanted` samples: as many as bring the sound to where it is most like itself."""
        search = round(SEARCH_S * self.rate_hz)
        high = min(wanted + search, math.floor(self.level) - 2 * self._min_level)
        low = max(wanted - search, search)
        if high <= low:
            return
        here = int(self._position) - self._origin
        reference = self._store[here : here + self._fade]
        length = low + likest_place(reference, self._store[here + low : here + high + self._fade])
        self._overlay = (1 - self._weights) * self._values(self._position, self._fade)
        self._faded_in = 0
        self._position += length
        self._since_cut = 0
        self.num_cuts += 1
        self.num_cut_samples += length
