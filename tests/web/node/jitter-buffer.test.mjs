import assert from "node:assert/strict";
import { test } from "node:test";

import { JitterBuffer } from "../../../anivoice/server/web/audio/jitter-buffer.js";

const RATE_HZ = 48000;
const QUANTUM = 128;
const BLOCK_S = 0.16;
const BLOCK = BLOCK_S * RATE_HZ;

/** Whole numbers below 2 ** 32, always the same for a seed. */
function makeRandom(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A voice-like sound: a gliding f0 with overtones; its largest second difference is known from itself. */
function makeSound(numSamples) {
  const sound = new Float32Array(numSamples);
  let phase = 0;
  for (let k = 0; k < numSamples; k++) {
    phase += (2 * Math.PI * (140 + 40 * Math.sin((2 * Math.PI * k) / RATE_HZ))) / RATE_HZ;
    for (let overtone = 1; overtone <= 8; overtone++) sound[k] += (0.2 / overtone) * Math.sin(overtone * phase);
  }
  return sound;
}

function largestSecondDifference(samples, from = 2) {
  let largest = 0;
  for (let k = from; k < samples.length; k++) {
    largest = Math.max(largest, Math.abs(samples[k] - 2 * samples[k - 1] + samples[k - 2]));
  }
  return largest;
}

/** Plays `numBlocks` blocks that come `delaysS[k]` late, in order, as TCP brings them. */
function play(sound, delaysS, look = () => {}) {
  const buffer = new JitterBuffer(RATE_HZ, BLOCK_S);
  const output = new Float32Array(QUANTUM);
  const played = [];
  let block = 0;
  let dueS = delaysS[0];
  for (let frame = 0; block < delaysS.length; frame += QUANTUM) {
    while (block < delaysS.length && frame / RATE_HZ >= dueS) {
      buffer.write(sound.subarray(block * BLOCK, (block + 1) * BLOCK));
      block++;
      if (block < delaysS.length) dueS = Math.max(dueS, block * BLOCK_S + delaysS[block]);
    }
    buffer.read(output);
    played.push(...output);
    look(buffer, frame / RATE_HZ);
  }
  return { buffer, played: Float32Array.from(played) };
}

test("what comes evenly is played sample by sample, after a few milliseconds", () => {
  const sound = makeSound(80 * BLOCK);
  const { buffer, played } = play(sound, new Array(80).fill(0));
  const start = played.length - 20 * BLOCK;
  const place = buffer.position - 20 * BLOCK;
  assert.deepEqual(played.subarray(start), sound.subarray(place, buffer.position));
  assert.equal(buffer.numGaps + buffer.numCuts, 0);
  assert.ok(buffer.delay < 0.025 * RATE_HZ);
});

test("a network that scatters by 150 ms and stalls: no click, no gap longer than its stall", () => {
  const random = makeRandom(7);
  const delaysS = Array.from({ length: 400 }, () => 0.15 * random() + (random() < 0.02 ? 0.3 : 0));
  const sound = makeSound(400 * BLOCK);
  let longestGapS = 0;
  let gapStart = null;
  let gapConcealed = 0;
  const { buffer, played } = play(sound, delaysS, (now, timeS) => {
    if (timeS < 2) gapConcealed = now.numConcealed;
    if (now.numConcealed > gapConcealed) gapStart ??= timeS;
    else if (gapStart !== null) {
      longestGapS = Math.max(longestGapS, timeS - gapStart);
      gapStart = null;
    }
    gapConcealed = now.numConcealed;
  });
  assert.ok(longestGapS < 0.3, `a gap of ${longestGapS} s`);
  assert.ok(largestSecondDifference(played, 2 * RATE_HZ) < 1.3 * largestSecondDifference(sound));
  assert.ok(buffer.numGaps < 20, `${buffer.numGaps} gaps`);
  assert.equal(buffer.numLost, 0);
});

test("after a stall of a second the delay is back within three blocks, and no block is lost whole", () => {
  const random = makeRandom(3);
  const delaysS = Array.from({ length: 100 }, () => 0.01 * random());
  const stalled = 60;
  delaysS[stalled] = 1;
  const sound = makeSound(100 * BLOCK);
  const endS = stalled * BLOCK_S + 1;
  let before = 0;
  let after = null;
  let longestCut = 0;
  let cut = 0;
  const { buffer, played } = play(sound, delaysS, (now, timeS) => {
    if (timeS < endS - 1) before = now.delay;
    if (after === null && timeS > endS && Math.abs(now.delay - before) < 0.01 * RATE_HZ) after = timeS - endS;
    longestCut = Math.max(longestCut, now.numCutSamples - cut);
    cut = now.numCutSamples;
  });
  assert.ok(after !== null && after < 3 * BLOCK_S, `back after ${after} s`);
  assert.ok(longestCut < BLOCK, `a cut of ${longestCut / RATE_HZ} s`);
  assert.equal(buffer.numGaps, 1);
  assert.ok(largestSecondDifference(played, RATE_HZ) < 1.3 * largestSecondDifference(sound));
});

test("a way that becomes longer for good is learned after three gaps at most", () => {
  const delaysS = Array.from({ length: 100 }, (_, block) => (block < 50 ? 0 : 0.2));
  const { buffer } = play(makeSound(100 * BLOCK), delaysS);
  assert.ok(buffer.numGaps <= 3, `${buffer.numGaps} gaps`);
  assert.ok(buffer.level > 0);
});

test("what the server left out is no delay", () => {
  const buffer = new JitterBuffer(RATE_HZ, BLOCK_S);
  buffer.write(new Float32Array(BLOCK));
  buffer.read(new Float32Array(QUANTUM));
  const before = buffer.delay;
  buffer.skip(BLOCK);
  assert.equal(buffer.delay, before - BLOCK);
});

test("clocks that differ by a thousandth: the delay stays, without a gap or a cut", () => {
  const delaysS = Array.from({ length: 300 }, (_, block) => -0.001 * block * BLOCK_S);
  const { buffer } = play(makeSound(300 * BLOCK), delaysS);
  assert.equal(buffer.numGaps + buffer.numCuts, 0);
  assert.ok(buffer.delay - buffer.target < 0.02 * RATE_HZ);
});
