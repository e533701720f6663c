// Where a sound is like itself: for splices that nobody hears, and for going on where nothing has come.

const STRIDE = 2;

/**
 * The shift `c` in `low..high` for which the `length` samples at `at + c` are most like those at `at`
 * (normalized cross-correlation). `store` is circular with length `mask + 1`.
 */
export function likestShift(store, mask, at, length, low, high) {
  let best = low;
  let bestScore = -Infinity;
  for (let shift = low; shift <= high; shift += STRIDE) {
    const score = likeness(store, mask, at, at + shift, length);
    if (score > bestScore) {
      bestScore = score;
      best = shift;
    }
  }
  return best;
}

function likeness(store, mask, a, b, length) {
  let product = 0;
  let energy = 1e-9;
  for (let k = 0; k < length; k += STRIDE) {
    const y = store[(b + k) & mask];
    product += store[(a + k) & mask] * y;
    energy += y * y;
  }
  return product / Math.sqrt(energy);
}
