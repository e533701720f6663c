import assert from "node:assert/strict";
import { test } from "node:test";

import { findClick, makeClick } from "../../../anivoice/server/web/live/click.js";

const RATE_HZ = 48000;

function noise(numSamples, level) {
  let state = 1;
  return Float32Array.from({ length: numSamples }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return level * (state / 2 ** 31 - 1);
  });
}

test("the click is found to the sample, soft and in noise", () => {
  const samples = noise(RATE_HZ, 0.02);
  makeClick(RATE_HZ).forEach((value, k) => (samples[20000 + k] += 0.1 * value));
  assert.equal(findClick(samples, makeClick(RATE_HZ)), 20000);
});

test("noise alone is no click", () => {
  assert.equal(findClick(noise(RATE_HZ, 0.1), makeClick(RATE_HZ)), null);
  assert.equal(findClick(new Float32Array(RATE_HZ), makeClick(RATE_HZ)), null);
});
