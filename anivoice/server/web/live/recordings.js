// Recordings of the Live view: to hear and to save, before and after.

import { at, make, save } from "../common/dom.js";
import { t } from "../common/texts.js";
import { wavOf } from "../common/wav.js";

/** @param {{before: Float32Array[], after: Float32Array[], played: Float32Array[]}} recording */
export function addRecording({ before, after, played }, rateHz, voice) {
  const seconds = Math.round(after.reduce((sum, piece) => sum + piece.length, 0) / rateHz);
  const files = { before: wavOf(before, rateHz), after: wavOf(after, rateHz), played: wavOf(played, rateHz) };
  const title = t("recordings.item", { voice, seconds });
  const saving = Object.entries(files).map(([side, file]) =>
    make("button", { type: "button", onclick: () => save(file, `${voice}_${side}.wav`) }, t(`recordings.${side}`)),
  );
  const player = make("audio", { controls: true, src: URL.createObjectURL(files.after), "aria-label": title });
  at("recording-list").prepend(make("li", { className: "recording" }, make("span", {}, title), player, saving));
  at("recordings").hidden = false;
}
