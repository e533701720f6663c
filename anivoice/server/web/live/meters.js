// Level meters: the peak, held for a while, and whether something clipped.

import { at } from "../common/dom.js";

const FLOOR_DB = -60;
const HOLD_MS = 1500;
const CLIP_MS = 2000;

export class Meter {
  /** `side`: "in" or "out". */
  constructor(side) {
    this._canvas = at(`meter-${side}`);
    this._clip = at(`clip-${side}`);
    this._held = { db: FLOOR_DB, ms: 0 };
    this._numClipped = 0;
    this._clippedMs = -CLIP_MS;
  }

  /** `peak` 0 to 1 and above; `numClipped` counts up; `nowMs` of the clock of animations. */
  show(peak, numClipped, nowMs) {
    const db = Math.max(FLOOR_DB, 20 * Math.log10(peak + 1e-9));
    if (db > this._held.db || nowMs - this._held.ms > HOLD_MS) this._held = { db, ms: nowMs };
    if (numClipped > this._numClipped) this._clippedMs = nowMs;
    this._numClipped = numClipped;
    this._clip.hidden = nowMs - this._clippedMs > CLIP_MS;
    this._canvas.setAttribute("aria-valuenow", Math.round(Math.min(db, 0)));
    this._draw(db);
  }

  _draw(db) {
    const canvas = this._canvas;
    canvas.width = canvas.clientWidth;
    canvas.height = canvas.clientHeight;
    const context = canvas.getContext("2d");
    const place = (level) => ((level - FLOOR_DB) / -FLOOR_DB) * canvas.width;
    const colours = getComputedStyle(canvas);
    const gradient = context.createLinearGradient(0, 0, canvas.width, 0);
    gradient.addColorStop(0, colours.getPropertyValue("--good"));
    gradient.addColorStop(0.75, colours.getPropertyValue("--good"));
    gradient.addColorStop(0.9, colours.getPropertyValue("--warn"));
    gradient.addColorStop(1, colours.getPropertyValue("--bad"));
    context.fillStyle = gradient;
    context.fillRect(0, 0, place(db), canvas.height);
    if (this._held.db > FLOOR_DB) context.fillRect(place(this._held.db) - 2, 0, 2, canvas.height);
  }
}
