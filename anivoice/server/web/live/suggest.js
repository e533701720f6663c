// Which preset this machine can do with this voice, by ten seconds of trying.

import { server } from "../common/server.js";

const SECONDS = 10;
const RATE_HZ = 48000;
const MESSAGE_S = 0.02;
const PRESETS = ["ultra", "low", "balanced", "quality"];

/**
 * Tries the preset that the server thinks is the shortest possible, with a sound like a voice. When blocks are dropped
 * the next longer one is it. `onSecond(left)`. @returns {{preset, blockMs, computeMs, isInTime}}
 */
export async function suggestPreset(parameters, onSecond) {
  let stats = null;
  const handlers = { onEvent: (event) => event.event === "stats" && (stats = event) };
  const { stream, isInTime } = await openShortest(parameters, handlers);
  try {
    await speak(stream, onSecond);
  } finally {
    stream.close();
  }
  const { preset, block_ms: blockMs } = stream.latest;
  const result = { preset, blockMs, computeMs: stats?.compute_ms.p95 ?? NaN, isInTime };
  if (!stats?.dropped_blocks && !stats?.late) return result;
  const next = PRESETS[PRESETS.indexOf(preset) + 1];
  return next ? { ...result, preset: next, blockMs: 2 * blockMs } : { ...result, isInTime: false };
}

async function openShortest(parameters, handlers) {
  const wanted = { ...parameters, sample_rate: RATE_HZ, mode: "live" };
  try {
    return { stream: await server.live({ ...wanted, preset: "auto" }, handlers), isInTime: true };
  } catch (error) {
    if (error.kind !== "busy") throw error;
    return { stream: await server.live({ ...wanted, preset: "quality" }, handlers), isInTime: false };
  }
}

async function speak(stream, onSecond) {
  const startMs = performance.now();
  let numSent = 0;
  const timer = setInterval(() => {
    const due = ((performance.now() - startMs) / 1000) * RATE_HZ;
    for (; numSent < due; numSent += MESSAGE_S * RATE_HZ) stream.send(vowel(numSent));
  }, 1000 * MESSAGE_S);
  for (let left = SECONDS; left > 0; left--) {
    onSecond(left);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  clearInterval(timer);
}

function vowel(start) {
  const samples = new Float32Array(MESSAGE_S * RATE_HZ);
  for (let k = 0; k < samples.length; k++) {
    const phase = (2 * Math.PI * 150 * (start + k)) / RATE_HZ;
    samples[k] = 0.2 * (Math.sin(phase) + 0.6 * Math.sin(4 * phase) + 0.3 * Math.sin(9 * phase));
  }
  return samples;
}
