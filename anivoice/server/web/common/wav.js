// Samples as a WAV file.

import { toSixteenBits } from "./live-stream.js";

const HEADER_BYTES = 44;

/** Mono pieces of samples, -1 to 1, as one 16-bit WAV. @returns {Blob} */
export function wavOf(pieces, rateHz) {
  const data = pieces.map(toSixteenBits);
  const numBytes = data.reduce((sum, piece) => sum + piece.byteLength, 0);
  return new Blob([header(numBytes, rateHz), ...data], { type: "audio/wav" });
}

function header(numBytes, rateHz) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  const text = (place, word) => [...word].forEach((letter, k) => view.setUint8(place + k, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + numBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rateHz, true);
  view.setUint32(28, 2 * rateHz, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, numBytes, true);
  return view.buffer;
}
