// The audio thread: the microphone goes into one queue, what the server sent comes out of another through the jitter
// buffer. Both are counted by one clock, so the delay between them is exact. Nothing is allocated in `process`.

import { Board, CONTROLS, FIELDS } from "./board.js";
import { JitterBuffer } from "./jitter-buffer.js";
import { openReader, openWriter } from "./ring.js";

const SCRATCH = 8192;
const MUTE_STEP = 1 / 256; // per sample: 5 ms at 48 kHz
const PEAK_FALL = 0.97; // per quantum
const QUANTA_PER_MESSAGE = 20;
const CLIPPING = 0.999;

class LiveProcessor extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this._jitter = new JitterBuffer(sampleRate);
    this._scratch = new Float32Array(SCRATCH);
    this._quantum = new Float32Array(128);
    this._gain = 1;
    this._isOver = false;
    this._quanta = 0;
    this._isShared = processorOptions.isShared;
    this._board = new Board(FIELDS, processorOptions.board);
    this._controls = new Board(CONTROLS, processorOptions.controls);
    this.port.onmessage = ({ data }) => this._take(data);
  }

  _take({ channels, skip, blockS, controls, isOver }) {
    if (channels) this._open(channels);
    if (skip) this._skip(skip);
    if (blockS) this._begin(blockS);
    if (controls) this._controls.values.set(controls);
    if (isOver) this._isOver = true;
  }

  _open([capture, playback, before, after, played]) {
    this._capture = openWriter(capture);
    this._playback = openReader(playback);
    this._before = openWriter(before);
    this._after = openWriter(after);
    this._played = openWriter(played);
    this._jitter.reset();
    this._isSending = false;
    this._board.values.fill(0);
  }

  /** The server is ready. What was said before is not sent: it would only be late. */
  _begin(blockS) {
    this._jitter.blockS = blockS;
    this._isSending = true;
  }

  /** So much of what was captured never comes back. */
  _skip(numSamples) {
    this._jitter.skip(numSamples);
    this._board.set("captured", this._board.get("captured") - numSamples);
  }

  process(inputs, outputs) {
    if (this._isOver) return false;
    if (!this._capture) return true;
    const output = outputs[0][0];
    this._send(inputs[0]);
    this._receive();
    this._jitter.read(output);
    this._meter("output", output);
    for (let channel = 1; channel < outputs[0].length; channel++) outputs[0][channel].set(output);
    if (this._controls.get("isRecording")) this._record(output);
    else this._board.set("recordStart", currentFrame + output.length);
    this._tell();
    return true;
  }

  /** The microphone, mixed to mono; silence while it is muted or gone. */
  _send(channels) {
    const aim = this._controls.get("isMuted") ? 0 : 1;
    for (let k = 0; k < this._quantum.length; k++) {
      let sum = 0;
      for (let channel = 0; channel < channels.length; channel++) sum += channels[channel][k];
      this._gain += Math.max(-MUTE_STEP, Math.min(MUTE_STEP, aim - this._gain));
      this._quantum[k] = channels.length ? (this._gain * sum) / channels.length : 0;
    }
    this._meter("input", this._quantum);
    if (!this._isSending) return;
    this._board.set("captured", this._board.get("captured") + this._capture.push(this._quantum, this._quantum.length));
  }

  _receive() {
    let length = this._playback.pop(this._scratch, SCRATCH);
    if (!length) return;
    for (; length; length = this._playback.pop(this._scratch, SCRATCH)) {
      this._jitter.write(this._scratch, length);
      if (this._controls.get("isRecording")) this._after.push(this._scratch, length);
    }
    // The newest sample that has come is so old.
    this._board.set("transit", this._board.get("captured") - this._jitter.received);
    this._board.set("numTransits", this._board.get("numTransits") + 1);
  }

  _record(output) {
    this._before.push(this._quantum, this._quantum.length);
    this._played.push(output, output.length);
  }

  _meter(side, samples) {
    let peak = 0;
    for (let k = 0; k < samples.length; k++) peak = Math.max(peak, Math.abs(samples[k]));
    const name = side === "input" ? "inputPeak" : "outputPeak";
    this._board.set(name, Math.max(peak, PEAK_FALL * this._board.get(name)));
    const clipped = side === "input" ? "inputClipped" : "outputClipped";
    if (peak >= CLIPPING) this._board.set(clipped, this._board.get(clipped) + 1);
  }

  _tell() {
    const jitter = this._jitter;
    this._board.set("position", jitter.position);
    this._board.set("received", jitter.received);
    this._board.set("delay", jitter.delay);
    this._board.set("target", jitter.target);
    this._board.set("level", jitter.level);
    this._board.set("rateChange", jitter.rateChange);
    this._board.set("numGaps", jitter.numGaps);
    this._board.set("numCuts", jitter.numCuts);
    this._board.set("numCutSamples", jitter.numCutSamples);
    this._board.set("numConcealed", jitter.numConcealed);
    this._quanta = (this._quanta + 1) % QUANTA_PER_MESSAGE;
    if (!this._isShared && this._quanta === 0) this.port.postMessage(this._board.values);
  }
}

registerProcessor("anivoice-live", LiveProcessor);
