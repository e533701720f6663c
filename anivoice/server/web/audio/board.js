// What the audio thread tells the page many times a second, and what the page tells it: numbers by name.

export const FIELDS = [
  "captured", "position", "received", "delay", "target", "level", "rateChange", "numGaps", "numCuts", "numCutSamples",
  "numConcealed", "inputPeak", "outputPeak", "inputClipped", "outputClipped", "numTransits", "transit", "recordStart",
];
export const CONTROLS = ["isMuted", "isRecording"];

/** Numbers at places that both sides know; shared where the buffer is shared. */
export class Board {
  constructor(names, buffer = new ArrayBuffer(8 * names.length)) {
    this.values = new Float64Array(buffer);
    this._places = new Map(names.map((name, place) => [name, place]));
  }

  static bufferFor(names, shared) {
    return shared ? new SharedArrayBuffer(8 * names.length) : new ArrayBuffer(8 * names.length);
  }

  get(name) {
    return this.values[this._places.get(name)];
  }

  set(name, value) {
    this.values[this._places.get(name)] = value;
  }
}
