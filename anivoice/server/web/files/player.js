// Before and after, playing together: one of them is heard, and the other at the same moment when it is switched to.

import { make } from "../common/dom.js";
import { t } from "../common/texts.js";
import Spectrogram from "../vendor/wavesurfer.js/spectrogram.js";
import WaveSurfer from "../vendor/wavesurfer.js/wavesurfer.js";

const MAX_APART_S = 0.02;
const SIDES = ["before", "after"];
let numPlayers = 0;

/** `element` goes into the page, then `begin`. */
export class Player {
  constructor(before, after, name) {
    this._group = `which-${++numPlayers}`;
    this._sides = { before: this._side(before), after: this._side(after) };
    this._play = make("button", { type: "button", onclick: () => this._toggle() }, t("files.play"));
    this._seek = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": t("files.seek", { name }) });
    this._time = make("span", { className: "time faint" });
    this._seek.oninput = () => this._go(Number(this._seek.value));
    const spectrogram = make("input", { type: "checkbox", onchange: ({ target }) => this._showSpectrograms(target.checked) });
    const choice = make("fieldset", { className: "row" }, make("legend", { className: "hidden" }, t("files.which")), SIDES.map((side) => this._choice(side)));
    this.element = make(
      "div",
      { className: "player" },
      SIDES.map((side) => this._sides[side].place),
      make("div", { className: "row" }, this._play, this._seek, this._time),
      make("div", { className: "row" }, choice, make("label", { className: "check" }, spectrogram, t("files.spectrogram"))),
    );
    this._hear("after");
  }

  /** Draws the waves; the element must be in the page. */
  begin() {
    const colours = getComputedStyle(this.element);
    const look = { height: 64, waveColor: colours.getPropertyValue("--edge"), progressColor: colours.getPropertyValue("--accent") };
    for (const side of Object.values(this._sides)) {
      side.wave = WaveSurfer.create({ container: side.place, media: side.audio, interact: true, normalize: true, ...look });
      side.wave.on("interaction", (timeS) => this._go(timeS));
      // What this browser cannot decode the server still can: then there is no picture of it.
      side.wave.on("error", () => (side.place.hidden = true));
    }
    const { audio } = this._sides.after;
    audio.ontimeupdate = audio.onloadedmetadata = () => this._showTime();
    audio.onplay = audio.onpause = audio.onended = () => this._showState();
  }

  close() {
    for (const { audio, wave } of Object.values(this._sides)) {
      wave?.destroy();
      audio.pause();
      URL.revokeObjectURL(audio.src);
    }
  }

  _side(blob) {
    return { audio: new Audio(URL.createObjectURL(blob)), place: make("div", { className: "wave" }), wave: null };
  }

  _choice(side) {
    const input = make("input", { type: "radio", name: this._group, value: side, checked: side === "after", onchange: () => this._hear(side) });
    return make("label", { className: "check" }, input, t(`files.${side}`));
  }

  _hear(heard) {
    for (const side of SIDES) {
      this._sides[side].audio.muted = side !== heard;
      this._sides[side].place.classList.toggle("off", side !== heard);
    }
    const { before, after } = this._sides;
    const [now, other] = heard === "after" ? [after, before] : [before, after];
    if (Math.abs(now.audio.currentTime - other.audio.currentTime) > MAX_APART_S) now.audio.currentTime = other.audio.currentTime;
  }

  _toggle() {
    const isPaused = this._sides.after.audio.paused;
    this._sides.before.audio.currentTime = this._sides.after.audio.currentTime;
    // A recording that this browser cannot play has been said so by its missing picture.
    for (const { audio } of Object.values(this._sides)) isPaused ? audio.play().catch(() => {}) : audio.pause();
  }

  _go(timeS) {
    for (const { audio } of Object.values(this._sides)) audio.currentTime = timeS;
    this._showTime();
  }

  _showTime() {
    const { currentTime, duration } = this._sides.after.audio;
    this._seek.max = duration || 1;
    this._seek.value = currentTime;
    this._time.textContent = `${clock(currentTime)} / ${clock(duration || 0)}`;
  }

  _showState() {
    this._play.textContent = t(this._sides.after.audio.paused ? "files.play" : "files.pause");
  }

  _showSpectrograms(isOn) {
    for (const side of Object.values(this._sides)) {
      side.spectrogram?.destroy();
      side.spectrogram = isOn ? side.wave.registerPlugin(Spectrogram.create({ height: 120, labels: false, scale: "mel" })) : null;
    }
  }
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
