// The connection to the server, away from the page's own work: takes the microphone's samples out of one queue, sends
// them, and puts what comes back into another.

import { AnivoiceClient } from "../../client.js";
import { openReader, openWriter } from "./ring.js";

const LOOK_MS = 5;
const MESSAGE_S = 0.02;
const PING_MS = 2000;

let stream = null;
let timers = [];

self.onmessage = ({ data }) => {
  if (data.start) start(data.start);
  else if (data.set) stream?.set(data.set);
  else if (data.stop) stop();
};

async function start({ key, parameters, channels }) {
  const [capture, playback] = [openReader(channels[0]), openWriter(channels[1])];
  const client = new AnivoiceClient(self.location.origin, { key });
  let numOverflowing = 0;
  try {
    stream = await client.live(parameters, {
      onAudio: (samples) => {
        numOverflowing += samples.length - playback.push(samples, samples.length);
      },
      onEvent: (event) => self.postMessage({ event }),
      onState: (state) => self.postMessage({ state }),
      onError: (error) => self.postMessage({ problem: plain(error), isOver: false }),
      onEnd: (error) => end(error),
    });
  } catch (error) {
    end(error);
    return;
  }
  pump(capture, parameters.sample_rate);
  timers.push(setInterval(() => measure(() => numOverflowing), PING_MS));
}

function pump(capture, rateHz) {
  const message = new Float32Array(Math.round(MESSAGE_S * rateHz));
  const send = () => {
    while (capture.availableRead() >= message.length) {
      capture.pop(message, message.length);
      stream?.send(message);
    }
  };
  timers.push(setInterval(send, LOOK_MS));
}

async function measure(numOverflowing) {
  const roundTripMs = await stream?.ping().catch(() => null);
  if (roundTripMs !== null) self.postMessage({ network: { roundTripMs, numOverflowing: numOverflowing() } });
}

function stop() {
  stream?.close();
  end(null);
}

function end(error) {
  timers.forEach(clearInterval);
  timers = [];
  stream = null;
  self.postMessage({ problem: error && plain(error), isOver: true });
}

function plain({ kind, message, status }) {
  return { kind, message, status };
}
