// What went in and what came out of a live stream, kept sample by sample.

import { openReader } from "../audio/ring.js";

const LOOK_MS = 100;
const PIECE = 8192;

/** Begins when it is made; `stop` gives the pieces. One at a time. */
export class Recorder {
  /** @param {LiveAudio} audio */
  constructor(audio) {
    this._audio = audio;
    this._sides = audio.recordings.map((end) => (end.opened ??= openReader(end)));
    this._pieces = [[], [], []];
    this._drain();
    this._pieces = [[], [], []];
    audio.isRecording = true;
    this._timer = setInterval(() => this._drain(), LOOK_MS);
  }

  /**
   * `before`: the microphone; `after`: what the server sent, whole; `played`: what was heard of it, sample by sample beside
   * `before`; `startS` by the clock of the context.
   */
  stop() {
    const startS = this._audio.board.get("recordStart") / this._audio.rateHz;
    this._audio.isRecording = false;
    clearInterval(this._timer);
    this._drain();
    const [before, after, played] = this._pieces;
    return { before, after, played, startS };
  }

  _drain() {
    this._sides.forEach((side, k) => {
      while (side.availableRead() > 0) {
        const piece = new Float32Array(Math.min(side.availableRead(), PIECE));
        side.pop(piece, piece.length);
        this._pieces[k].push(piece);
      }
    });
  }
}

/** All pieces in one. */
export function joined(pieces) {
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let place = 0;
  for (const piece of pieces) {
    whole.set(piece, place);
    place += piece.length;
  }
  return whole;
}
