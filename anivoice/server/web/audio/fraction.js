// Samples between samples: a windowed sinc, for the tiny changes of rate of the jitter buffer.

export const HALF_TAPS = 8;
const TAPS = 2 * HALF_TAPS;
const NUM_PHASES = 512;
const table = makeTable();

function makeTable() {
  const values = new Float32Array((NUM_PHASES + 1) * TAPS);
  for (let phase = 0; phase <= NUM_PHASES; phase++) {
    let sum = 0;
    for (let tap = 0; tap < TAPS; tap++) {
      const x = tap - (HALF_TAPS - 1) - phase / NUM_PHASES;
      sum += values[phase * TAPS + tap] = sinc(x) * blackman(x / HALF_TAPS);
    }
    for (let tap = 0; tap < TAPS; tap++) values[phase * TAPS + tap] /= sum;
  }
  return values;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function blackman(x) {
  return Math.abs(x) >= 1 ? 0 : 0.42 + 0.5 * Math.cos(Math.PI * x) + 0.08 * Math.cos(2 * Math.PI * x);
}

/** The value at `at + fraction` (0 to 1) of the circular `store`, whose length is `mask + 1`, a power of two. */
export function valueAt(store, mask, at, fraction) {
  if (fraction === 0) return store[at & mask];
  const row = Math.round(fraction * NUM_PHASES) * TAPS;
  let value = 0;
  for (let tap = 0; tap < TAPS; tap++) value += table[row + tap] * store[(at + tap - HALF_TAPS + 1) & mask];
  return value;
}
