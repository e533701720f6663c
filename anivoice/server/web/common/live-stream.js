// The WebSocket of a live stream: samples in, the changed voice out. A lost connection is taken up again.

import { AnivoiceError } from "./errors.js";

const GRACE_MS = 15000;
const RETRY_MS = 500;
const READY_MS = 120000;
const PING_MS = 5000;
const GOODBYE = 1000;
const TRY_AGAIN_LATER = 1013;
const MAX_UNSENT_BYTES = 2 ** 20;

/** Made by `AnivoiceClient.live`, which says what `handlers` are. 16 bits on the wire, floats here. */
export class LiveStream {
  constructor(url, { onAudio, onEvent, onState, onError, onEnd }) {
    this._url = url;
    this._handlers = { onAudio, onEvent, onState, onError, onEnd };
    this._waiting = { flushed: [], pong: new Map() };
    this._numPings = 0;
    this._lostAtMs = null;
    this._isOver = false;
    this._sentence = null;
    this.latest = null;
    this.numLeftOut = 0;
    /** Fulfilled with the event `ready`. */
    this.ready = new Promise((resolve, reject) => (this._settle = { resolve, reject }));
    this._timer = setTimeout(() => this._end(new AnivoiceError("the server was not ready in time", { kind: "busy" })), READY_MS);
    this._connect();
  }

  /** Mono samples, -1 to 1. Left out while there is no connection: they would be too late. */
  send(samples) {
    if (this._socket.readyState !== WebSocket.OPEN || this._socket.bufferedAmount > MAX_UNSENT_BYTES) {
      this.numLeftOut += samples.length;
      return;
    }
    this._socket.send(toSixteenBits(samples));
  }

  /** Parameters from the next block on. What the server refuses comes to `onError`. */
  set(parameters) {
    this._say(parameters);
  }

  /** Fulfilled when all that was sent has come back. */
  flush() {
    return new Promise((resolve, reject) => {
      this._waiting.flushed.push({ resolve, reject });
      this._say({ flush: true });
    });
  }

  /** Milliseconds to the server and back. */
  ping() {
    const number = ++this._numPings;
    const startedMs = performance.now();
    return new Promise((resolve, reject) => {
      this._waiting.pong.set(number, { resolve: () => resolve(performance.now() - startedMs), reject });
      setTimeout(() => this._answerPing(number, new AnivoiceError("no answer", { kind: "unreachable" })), PING_MS);
      this._say({ ping: number });
    });
  }

  close() {
    this._end(null);
    this._socket.close(GOODBYE);
  }

  _say(object) {
    if (this._socket.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(object));
  }

  _connect() {
    const socket = (this._socket = new WebSocket(this._url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this._opened();
    socket.onmessage = ({ data }) => (typeof data === "string" ? this._hear(JSON.parse(data)) : this._play(data));
    socket.onclose = ({ code }) => this._closed(code);
  }

  _opened() {
    this._say({ events: true }); // an empty beginning: the session has its parameters
  }

  _play(data) {
    this._sentence = null;
    this._handlers.onAudio?.(fromSixteenBits(data));
  }

  _hear(message) {
    if (message.error) {
      this._sentence = message.error;
      if (this.latest) this._handlers.onError?.(new AnivoiceError(message.error, { kind: "refused" }));
      return;
    }
    this._sentence = null;
    if (message.event === "ready") this._isReady(message);
    else if (message.event === "flushed") this._waiting.flushed.shift()?.resolve();
    else if (message.event === "pong") return void this._answerPing(message.ping, null);
    this._handlers.onEvent?.(message);
  }

  _answerPing(number, error) {
    const waiter = this._waiting.pong.get(number);
    this._waiting.pong.delete(number);
    if (waiter) error ? waiter.reject(error) : waiter.resolve();
  }

  _isReady(event) {
    clearTimeout(this._timer);
    const isBack = this._lostAtMs !== null;
    this._lostAtMs = null;
    this.latest = { ...event, isBack };
    this._settle.resolve(this.latest);
    this._handlers.onState?.("open");
  }

  /** The server's own reasons end the stream; a connection that broke is made anew for the server's time of grace. */
  _closed(code) {
    if (this._isOver) return;
    const isBroken = code === 1006 || code === 1005;
    this._lostAtMs ??= performance.now();
    if (!isBroken || !this.latest || performance.now() - this._lostAtMs > GRACE_MS) {
      this._end(errorOfClose(code, this._sentence, this.latest !== null));
      return;
    }
    this._handlers.onState?.("reconnecting");
    setTimeout(() => this._isOver || this._connect(), RETRY_MS);
  }

  _end(error) {
    if (this._isOver) return;
    this._isOver = true;
    clearTimeout(this._timer);
    const reason = error ?? new AnivoiceError("the stream is closed", { kind: "cancelled" });
    for (const waiter of [...this._waiting.flushed, ...this._waiting.pong.values()]) waiter.reject(reason);
    this._settle.reject(reason);
    this.ready.catch(() => {});
    if (this.latest) this._handlers.onEnd?.(error);
  }
}

function errorOfClose(code, sentence, hasBegun) {
  const isTooMuch = code === TRY_AGAIN_LATER && !hasBegun;
  if (sentence) return new AnivoiceError(sentence, { status: code, kind: isTooMuch ? "slow" : undefined });
  const text = hasBegun ? "the connection to the server is lost" : "the connection to the server could not be made";
  return new AnivoiceError(text, { kind: "unreachable" });
}

export function toSixteenBits(samples) {
  const data = new Int16Array(samples.length);
  for (let k = 0; k < samples.length; k++) data[k] = Math.round(32767 * Math.max(-1, Math.min(1, samples[k])));
  return data.buffer;
}

export function fromSixteenBits(buffer) {
  const data = new Int16Array(buffer);
  const samples = new Float32Array(data.length);
  for (let k = 0; k < data.length; k++) samples[k] = data[k] / 32768;
  return samples;
}
