// Microphone -> server -> loudspeakers: the parts of a live stream put together and taken apart.

import { AnivoiceError } from "../common/errors.js";
import { Board, CONTROLS, FIELDS } from "./board.js";
import { Monitor } from "./monitor.js";
import { canShare, makeChannel, posted } from "./ring.js";

const CHANNEL_S = 4;
const TRANSIT_WEIGHT = 0.1;

/**
 * `start`, then `set`, and at the end `stop`. `handlers`: `onEvent(event)`, `onState("open" | "reconnecting")`,
 * `onProblem(error)` (it goes on), `onEnd(error | null)`.
 */
export class LiveAudio {
  constructor(handlers) {
    this._handlers = handlers;
    this.ready = null;
    this.network = null;
    this._usualTransit = null;
    this._numTransits = 0;
    this._isBack = false;
    this._dropped = 0;
  }

  get rateHz() {
    return this.context.sampleRate;
  }

  /** Opens the devices and the stream. Throws AnivoiceError: "insecure", "microphone_refused" and so on. */
  async start({ microphone, output, browser, parameters, key }) {
    this._microphone = await openMicrophone(microphone, browser);
    this.context = new AudioContext({ latencyHint: "interactive" });
    if (!this.context.audioWorklet) throw new AnivoiceError("", { kind: "no_worklets" });
    await this.context.audioWorklet.addModule("/web/audio/live-worklet.js").catch(unreachable);
    await this.setOutput(output);
    this._connectNodes();
    this._openStream(key, { ...parameters, sample_rate: this.rateHz });
    await this.context.resume();
  }

  /** From the next block on. */
  set(parameters) {
    this._worker?.postMessage({ set: parameters });
  }

  stop() {
    this._closeStream();
    this._node?.port.postMessage({ isOver: true });
    this.monitor?.close();
    this._microphone?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }

  /** Throws AnivoiceError "output_missing". Nothing happens where a browser knows no outputs. */
  async setOutput(deviceId) {
    if (!this.context.setSinkId) return;
    try {
      await this.context.setSinkId(deviceId ?? "");
    } catch (error) {
      throw new AnivoiceError(error.message, { kind: "output_missing" });
    }
  }

  setGain(decibels) {
    this._gain.gain.setTargetAtTime(10 ** (decibels / 20), this.context.currentTime, 0.02);
  }

  silence() {
    this._gain.gain.setTargetAtTime(0, this.context.currentTime, 0.005);
  }

  set isMuted(isMuted) {
    this._control("isMuted", isMuted);
  }

  set isRecording(isRecording) {
    this._control("isRecording", isRecording);
  }

  get board() {
    return this._board;
  }

  /** The delay as it is, term by term, in ms; null as long as nothing has come back. */
  get delayMs() {
    const board = this._board;
    if (!board || !board.get("numTransits")) return null;
    this._followTransit();
    const ms = 1000 / this.rateHz;
    const server = this._usualTransit * ms;
    const terms = {
      microphone: 1000 * (this._microphone.getAudioTracks()[0].getSettings().latency ?? this.context.baseLatency),
      server,
      buffer: (board.get("captured") - board.get("position")) * ms - server,
      speakers: 1000 * (this.context.outputLatency || this.context.baseLatency),
    };
    return { ...terms, total: Object.values(terms).reduce((sum, term) => sum + term, 0) };
  }

  /** After a break what was under way never comes: the stream goes on so much later. */
  _followTransit() {
    const count = this._board.get("numTransits");
    if (count === this._numTransits) return;
    this._numTransits = count;
    const transit = this._board.get("transit");
    if (this._isBack && this._usualTransit !== null) {
      this._isBack = false;
      this._node.port.postMessage({ skip: Math.round(transit - this._usualTransit) });
      return;
    }
    this._usualTransit += this._usualTransit === null ? transit : TRANSIT_WEIGHT * (transit - this._usualTransit);
  }

  _connectNodes() {
    const options = {
      isShared: canShare,
      board: Board.bufferFor(FIELDS, canShare),
      controls: Board.bufferFor(CONTROLS, canShare),
    };
    this._board = new Board(FIELDS, options.board);
    this._controls = new Board(CONTROLS, options.controls);
    this._node = new AudioWorkletNode(this.context, "anivoice-live", { outputChannelCount: [1], processorOptions: options });
    this._node.port.onmessage = ({ data }) => this._board.values.set(data);
    this._gain = this.context.createGain();
    this.analyser = this.context.createAnalyser();
    this.context.createMediaStreamSource(this._microphone).connect(this._node);
    this._node.connect(this._gain).connect(this.context.destination);
    this._node.connect(this.analyser);
    this.monitor = new Monitor(this.context, this._node);
  }

  _openStream(key, parameters) {
    const channels = Array.from({ length: 5 }, () => makeChannel(CHANNEL_S * this.rateHz));
    const [capture, playback, before, after, played] = channels;
    this.recordings = [before.reader, after.reader, played.reader];
    const [ends, moved] = posted(capture.writer, playback.reader, before.writer, after.writer, played.writer);
    this._node.port.postMessage({ channels: ends }, moved);
    const [workerEnds, workerMoved] = posted(capture.reader, playback.writer);
    const worker = (this._worker = new Worker("/web/audio/stream-worker.js", { type: "module" }));
    worker.onmessage = ({ data }) => this._worker === worker && this._hear(data);
    worker.onerror = ({ message }) => this._handlers.onEnd(new AnivoiceError(message, { kind: "unreachable" }));
    worker.postMessage({ start: { key, parameters, channels: workerEnds } }, workerMoved);
  }

  /** The worker ends by itself once it has said goodbye. */
  _closeStream() {
    const worker = this._worker;
    if (!worker) return;
    this._worker = null;
    worker.onmessage = ({ data }) => data.isOver && worker.terminate();
    worker.postMessage({ stop: true });
  }

  _hear({ event, state, problem, isOver, network }) {
    if (network) this.network = network;
    if (event) this._take(event);
    if (state) this._handlers.onState(state);
    if (isOver) this._handlers.onEnd(problem);
    else if (problem) this._handlers.onProblem(problem);
  }

  _take(event) {
    if (event.event === "ready") {
      this.ready = event;
      this._isBack = event.isBack === true;
      this._node.port.postMessage({ blockS: event.block_ms / 1000 });
    } else if (event.event === "changed") {
      const { preset, block_ms, latency_ms } = event;
      this.ready = { ...this.ready, preset, block_ms, latency_ms };
      this._node.port.postMessage({ blockS: block_ms / 1000 });
    } else if (event.event === "overrun") {
      const numBlocks = event.dropped_blocks - this._dropped;
      this._dropped = event.dropped_blocks;
      this._node.port.postMessage({ skip: Math.round((numBlocks * this.ready.block_ms * this.rateHz) / 1000) });
    }
    this._handlers.onEvent(event);
  }

  _control(name, isOn) {
    this._controls.set(name, isOn ? 1 : 0);
    if (!canShare) this._node.port.postMessage({ controls: this._controls.values });
  }
}

function unreachable(error) {
  throw new AnivoiceError(error.message, { kind: "unreachable" });
}

const MICROPHONE_KINDS = {
  NotAllowedError: "microphone_refused",
  SecurityError: "microphone_refused",
  NotFoundError: "microphone_missing",
  OverconstrainedError: "microphone_missing",
};

/** Throws AnivoiceError with the kind of what is wrong. */
export async function openMicrophone(deviceId, { noise = false, echo = false, autoGain = false } = {}) {
  if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new AnivoiceError("", { kind: "insecure" });
  const device = deviceId ? { deviceId: { exact: deviceId } } : {};
  const audio = { ...device, noiseSuppression: noise, echoCancellation: echo, autoGainControl: autoGain };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new AnivoiceError(error.message, { kind: MICROPHONE_KINDS[error.name] ?? "microphone_taken" });
  }
}
