// Mouth to ear, truthfully: a click goes out, is heard by the microphone, goes through the stream and comes out again.

import { findClick, makeClick } from "./click.js";
import { Recorder, joined } from "./recorder.js";

const LEAD_S = 0.3;
const BEHIND_S = 1.0;
const QUIET_S = 0.3;

/**
 * Of a running stream, in ms: `devices` (out, air, in), `stream` (from the microphone's samples to those played) and
 * `total`. Null if the click did not come back. The stream passes the voice through meanwhile, and nothing else is heard.
 */
export async function measureLoop(audio, wasPassing) {
  audio.set({ passthrough: true });
  audio.silence();
  const streamS = (audio.delayMs?.total ?? 1000) / 1000;
  await wait(streamS + QUIET_S);
  const recorder = new Recorder(audio);
  const clickS = playClick(audio.context);
  await wait(LEAD_S + 2 * streamS + BEHIND_S);
  const recording = recorder.stop();
  audio.set({ passthrough: wasPassing });
  return evaluate(recording, clickS, audio.rateHz);
}

function playClick(context) {
  const click = makeClick(context.sampleRate);
  const buffer = context.createBuffer(1, click.length, context.sampleRate);
  buffer.copyToChannel(click, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  const startS = context.currentTime + LEAD_S;
  source.start(startS);
  return startS;
}

export function evaluate({ before, played, startS }, clickS, rateHz) {
  const click = makeClick(rateHz);
  const heard = findClick(joined(before), click);
  const returned = findClick(joined(played), click);
  if (heard === null || returned === null || returned <= heard) return null;
  const devices = 1000 * (startS + heard / rateHz - clickS);
  const stream = (1000 * (returned - heard)) / rateHz;
  return { devices, stream, total: devices + stream };
}

function wait(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}
