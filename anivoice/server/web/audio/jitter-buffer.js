// What comes in jerks goes out evenly, with no more delay than the network needs.
//
// All times are in samples. `now` counts what has been played, `received` what has come, `at` (and `fraction`) is the
// place in the stream that is played next. The delay is `now - at`; it is led to what 95 % of the arrivals need: by
// changes of rate of at most half a percent, and after a stall by several short cuts where the sound is like itself.
// When nothing is left, the last period of the sound is repeated and faded out; nothing is ever begun or ended hard.

import { HALF_TAPS, valueAt } from "./fraction.js";
import { Lateness } from "./lateness.js";
import { likestShift } from "./likeness.js";

const CAPACITY = 2 ** 19;
const MASK = CAPACITY - 1;
const FADE_S = 0.005;
const RESERVE_S = 0.006; // beside the fade and the taps: for the grain of a quantum
const FIRST_RESERVE_S = 0.02;
const CONCEALED_S = 0.06;
const PERIOD_S = [0.0025, 0.0125];
const MAX_RATE_CHANGE = 0.005;
const SETTLING = 0.0005;
const ADJUST_S = [0.0015, 0.008]; // ends, begins
const CUT_S = [0.005, 0.06]; // ends, begins
const RECOVERY_BLOCKS = 2.5;
const MIN_RECOVERY_S = 0.4;
const MAX_CUT_BLOCKS = 0.75;
const MIN_MAX_CUT_S = 0.12;
const SEARCH_S = 0.005;

/** Mono. `write` what comes, `read` what is to be played; nothing is allocated after the construction. */
export class JitterBuffer {
  constructor(rateHz, blockS = 0.16) {
    this.rateHz = rateHz;
    this.blockS = blockS;
    this._fade = Math.round(FADE_S * rateHz);
    this._weights = Float32Array.from({ length: this._fade }, (_, k) => 0.5 - 0.5 * Math.cos((Math.PI * (k + 1)) / (this._fade + 1)));
    this._store = new Float32Array(CAPACITY);
    this._extension = new Float32Array(Math.round(CONCEALED_S * rateHz));
    this._minLevel = this._fade + HALF_TAPS + 1;
    this._reserve = this._minLevel + Math.round(RESERVE_S * rateHz);
    this.numGaps = 0;
    this.numCuts = 0;
    this.numCutSamples = 0;
    this.numConcealed = 0;
    this.numLost = 0;
    this.reset();
  }

  /** A new stream begins; the counts go on. */
  reset() {
    this._lateness = new Lateness();
    this._store.fill(0);
    this._now = this.received = this._at = this._fraction = 0;
    this.rateChange = 0;
    this._isPlaying = false;
    this._hasBegun = false;
    this._hasPlayed = false;
    this._isSettling = false;
    this._wait = 0;
    this._fadeLeft = 0;
    this._fadesStream = false;
    this._oldAt = 0;
    this._extensionAt = this._extension.length;
    this._lastArrival = -1;
    this._sinceCut = 0;
    this._isRecovering = false;
  }

  /** Samples that lie here. */
  get level() {
    return this.received - this._at - this._fraction;
  }

  /** The place in the stream that is played next, in samples. */
  get position() {
    return this._at + this._fraction;
  }

  get delay() {
    return this._now - this.position;
  }

  /** The delay that is aimed at. */
  get target() {
    return this._lateness.usual + this._reserve;
  }

  /** The sender left so much out: what comes next belongs so much later. */
  skip(numSamples) {
    this._now -= numSamples;
  }

  write(samples, length = samples.length) {
    this._noteArrival();
    for (let k = 0; k < length; k++) this._store[(this.received + k) & MASK] = samples[k];
    this.received += length;
    const surplus = this.received - this._at - (CAPACITY - this.rateHz);
    if (surplus > 0) {
      this._at += surplus;
      this.numLost += surplus;
    }
  }

  read(output) {
    if (this._isPlaying) this._steer(output.length);
    for (let k = 0; k < output.length; k++) output[k] = this._next();
  }

  _noteArrival() {
    if (!this._hasBegun) {
      this._hasBegun = true;
      this._now = 0;
      this._wait = Math.round(FIRST_RESERVE_S * this.rateHz);
    }
    if (this._now === this._lastArrival) return;
    this._lastArrival = this._now;
    const lateness = this._now - this.received;
    this._lateness.add(lateness);
    if (!this._isPlaying && this._hasPlayed) this._wait = this.target - this._minLevel - lateness;
  }

  _next() {
    if (this._fadeLeft === 0) this._changeOver();
    this._now++;
    let value = this._isPlaying ? this._streamValue() : this._extensionValue();
    if (this._fadeLeft > 0) {
      const weight = this._weights[this._fade - this._fadeLeft];
      value = weight * value + (1 - weight) * (this._fadesStream ? this._oldValue() : this._extensionValue());
      this._fadeLeft--;
    }
    return value;
  }

  /** From the stream to its extension when nothing is left, and back when there is something again. */
  _changeOver() {
    if (this._isPlaying && this.level <= this._minLevel) {
      this._extend();
      this._isPlaying = false;
      this._isRecovering = false;
      this._beginFade(true, this._at);
      this._at += this._fade;
      this.numGaps++;
    } else if (!this._isPlaying && this._hasBegun) {
      this._wait--;
      this.numConcealed++;
      if (this._wait < 0 && this.level > this._minLevel + this._fade) {
        this._isPlaying = this._hasPlayed = true;
        this._beginFade(false, 0);
      }
    }
  }

  _beginFade(fadesStream, oldAt) {
    this._fadeLeft = this._fade;
    this._fadesStream = fadesStream;
    this._oldAt = oldAt;
  }

  _streamValue() {
    const value = valueAt(this._store, MASK, this._at, this._fraction);
    const place = this._fraction + 1 + this.rateChange;
    const whole = Math.floor(place);
    this._at += whole;
    this._fraction = place - whole;
    if (this._isSettling && this._fraction < 2 * SETTLING) this._settle();
    return value;
  }

  _oldValue() {
    return valueAt(this._store, MASK, this._oldAt++, this._fraction);
  }

  _extensionValue() {
    return this._extensionAt < this._extension.length ? this._extension[this._extensionAt++] : 0;
  }

  /** The last period again and again, ever softer. */
  _extend() {
    const shortest = Math.round(PERIOD_S[0] * this.rateHz);
    const longest = Math.round(PERIOD_S[1] * this.rateHz);
    const start = this._at - 2 * this._fade;
    const period = -likestShift(this._store, MASK, start, 2 * this._fade, -longest, -shortest);
    const length = this._extension.length;
    for (let k = 0; k < length; k++) {
      const softer = 0.5 + 0.5 * Math.cos((Math.PI * k) / length);
      this._extension[k] = softer * this._periodValue(period, k % period);
    }
    this._extensionAt = 0;
  }

  /** The last period; its end leads into its own beginning. */
  _periodValue(period, k) {
    const value = this._store[(this._at - period + k) & MASK];
    const blended = Math.floor(period / 4);
    if (k < period - blended) return value;
    const weight = (k - period + blended + 1) / (blended + 1);
    return (1 - weight) * value + weight * this._store[(this._at - 2 * period + k) & MASK];
  }

  /** Once per quantum: leads the delay to its target. */
  _steer(numFrames) {
    const surplusS = (this.delay - this.target) / this.rateHz;
    this._sinceCut += numFrames;
    if (!this._isRecovering && surplusS > CUT_S[1]) this._beginRecovery(surplusS);
    if (this._isRecovering) this._recover(surplusS);
    else this._adjustRate(surplusS);
  }

  _adjustRate(surplusS) {
    const size = Math.abs(surplusS);
    if (this.rateChange === 0 && size < ADJUST_S[1] && this._fraction === 0) return;
    this._isSettling = size < ADJUST_S[0];
    const change = Math.min(MAX_RATE_CHANGE, Math.max(size / 2, 2 * SETTLING));
    this.rateChange = this._isSettling ? SETTLING : Math.sign(surplusS) * change;
  }

  /** On a whole sample: from here on samples are played as they came. */
  _settle() {
    this._isSettling = false;
    this.rateChange = 0;
    this._fraction = 0;
  }

  /** The surplus is to be gone after two and a half blocks: so much in each cut, so much is heard between two. */
  _beginRecovery(surplusS) {
    this._isRecovering = true;
    const recoveryS = Math.max(RECOVERY_BLOCKS * this.blockS, MIN_RECOVERY_S);
    const longestS = Math.max(MAX_CUT_BLOCKS * this.blockS, MIN_MAX_CUT_S);
    const numCuts = Math.ceil(surplusS / longestS);
    this._cutS = surplusS / numCuts;
    this._between = (recoveryS / numCuts) * this.rateHz;
    this._sinceCut = this._between;
  }

  _recover(surplusS) {
    this.rateChange = 0;
    this._isSettling = false;
    if (surplusS < CUT_S[0]) {
      this._isRecovering = false;
    } else if (this._fadeLeft === 0 && this._sinceCut >= this._between) {
      this._cut(Math.min(this._cutS, surplusS) * this.rateHz);
    }
  }

  _cut(wanted) {
    const search = Math.round(SEARCH_S * this.rateHz);
    const high = Math.min(Math.round(wanted) + search, Math.floor(this.level) - 2 * this._minLevel);
    const low = Math.max(Math.round(wanted) - search, search);
    if (high <= low) return;
    const length = likestShift(this._store, MASK, this._at, this._fade, low, high);
    this._beginFade(true, this._at);
    this._at += length;
    this._sinceCut = 0;
    this.numCuts++;
    this.numCutSamples += length;
  }
}
