// How late the audio of a stream comes, and with that the delay that a buffer needs.

const NUM_KEPT = 100;
const SHARE = 0.95;
const NUM_OF_A_SHIFT = 3;

/** The lateness of the last arrivals, in samples: time of the arrival less what had been received before it. */
export class Lateness {
  constructor() {
    this._values = new Float64Array(NUM_KEPT);
    this._sorted = new Float64Array(NUM_KEPT);
    this._count = 0;
  }

  /** What 95 % of the arrivals keep. Rare stalls do not count: no buffer is made for them. */
  get usual() {
    const length = Math.min(this._count, NUM_KEPT);
    return length ? this._sorted[Math.floor(SHARE * (length - 1))] : 0;
  }

  add(lateness) {
    this._values[this._count % NUM_KEPT] = lateness;
    this._count++;
    const before = this.usual;
    if (this._count > NUM_OF_A_SHIFT && this._lastAreAbove(before)) this._forgetAllButLast();
    this._sort();
  }

  /** Several in a row above what was usual: the way has become longer for good. */
  _lastAreAbove(limit) {
    for (let back = 1; back <= NUM_OF_A_SHIFT; back++) {
      if (this._values[(this._count - back) % NUM_KEPT] <= limit) return false;
    }
    return true;
  }

  _forgetAllButLast() {
    for (let back = NUM_OF_A_SHIFT; back >= 1; back--) {
      this._sorted[NUM_OF_A_SHIFT - back] = this._values[(this._count - back) % NUM_KEPT];
    }
    this._values.set(this._sorted);
    this._count = NUM_OF_A_SHIFT;
  }

  _sort() {
    const length = Math.min(this._count, NUM_KEPT);
    for (let at = 0; at < length; at++) {
      const value = this._values[at];
      let place = at;
      for (; place > 0 && this._sorted[place - 1] > value; place--) this._sorted[place] = this._sorted[place - 1];
      this._sorted[place] = value;
    }
  }
}
