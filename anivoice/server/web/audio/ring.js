// A queue of samples from one thread to one other: over shared memory where the page may have it, else over messages.
// Both ends look the same. Shared memory needs the headers COOP and COEP, which the server sends with its pages.

import { RingBuffer } from "../vendor/ringbuf.js/ringbuf.js";

const HEADER_BYTES = 8; // the two places of ringbuf.js

/** True where samples can go through shared memory. */
export const canShare = globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";

/**
 * A queue for `capacity` samples. Each end is a description that may be posted to another thread, with `transfer`.
 * @returns {{writer: object, reader: object}}
 */
export function makeChannel(capacity, shared = canShare) {
  if (shared) {
    const end = { kind: "shared", buffer: RingBuffer.getStorageForCapacity(capacity, Float32Array), transfer: [] };
    return { writer: end, reader: end };
  }
  const { port1, port2 } = new MessageChannel();
  return {
    writer: { kind: "port", port: port1, capacity, transfer: [port1] },
    reader: { kind: "port", port: port2, capacity, transfer: [port2] },
  };
}

/** What may be posted of an end: `port.postMessage(...posted(end))`. */
export function posted(...ends) {
  const plain = ends.map(({ kind, buffer, port, capacity }) => ({ kind, buffer, port, capacity }));
  return [plain, ends.flatMap((end) => end.transfer)];
}

/** `push(samples, length)` -> how many went in; what does not fit is left out. */
export function openWriter(end) {
  return end.kind === "shared" ? new RingBuffer(end.buffer, Float32Array) : new PortWriter(end.port);
}

/** `pop(into, length)` -> how many came out; `availableRead()`. */
export function openReader(end) {
  return end.kind === "shared" ? new RingBuffer(end.buffer, Float32Array) : openPortReader(end);
}

class PortWriter {
  constructor(port) {
    this._port = port;
  }

  push(samples, length = samples.length) {
    const copy = samples.slice(0, length);
    this._port.postMessage(copy, [copy.buffer]);
    return length;
  }
}

function openPortReader(end) {
  const ring = new RingBuffer(new ArrayBuffer(HEADER_BYTES + 4 * (end.capacity + 1)), Float32Array);
  end.port.onmessage = ({ data }) => ring.push(data);
  return ring;
}
