// One recording and its conversion.

import { make, save } from "../common/dom.js";
import { showProblem } from "../common/problems.js";
import { server, withKey } from "../common/server.js";
import { t } from "../common/texts.js";
import { Player } from "./player.js";

const FORMATS = ["wav", "flac", "ogg", "mp3"];

/** `element` goes into the list; `convert` with the parameters that `current()` tells then. */
export class Job {
  constructor(file, current) {
    this._file = file;
    this._current = current;
    this._results = {};
    this._state = make("p", { className: "faint", role: "status" });
    this._progress = make("progress", { max: 1, hidden: true, "aria-label": file.name });
    this._problem = make("div", { className: "problem", role: "alert", hidden: true });
    this._body = make("div", { className: "stack" });
    this._cancel = this._button("files.cancel", () => this._abort.abort());
    this._again = this._button("files.again", () => this.convert());
    this._remove = this._button("files.remove", () => this._leave());
    const head = make("h3", {}, file.name);
    const buttons = make("div", { className: "row" }, this._cancel, this._again, this._remove);
    this.element = make("li", { className: "card job" }, head, this._state, this._progress, this._problem, this._body, buttons);
  }

  async convert() {
    this._parameters = this._current();
    this._results = {};
    const result = await this._run(this._parameters);
    if (result) this._show(result);
  }

  /** The result, or null when it failed, which is shown. */
  async _run(parameters) {
    this._abort = new AbortController();
    this._showBusy(true);
    showProblem(this._problem, null);
    const options = { signal: this._abort.signal, onProgress: (progress) => this._tell(progress) };
    try {
      return await withKey(() => server.convert(this._file, parameters, options));
    } catch (error) {
      this._state.textContent = "";
      showProblem(this._problem, error);
      return null;
    } finally {
      this._showBusy(false);
    }
  }

  _tell({ state, share }) {
    const isWaiting = state === "waiting" || (state === "uploading" && share === 1);
    this._state.textContent = t(isWaiting ? "files.waiting" : `files.${state}`, { percent: Math.round(100 * (share ?? 0)) });
    if (share === null || isWaiting) this._progress.removeAttribute("value");
    else this._progress.value = share;
  }

  _showBusy(isBusy) {
    this._progress.hidden = this._cancel.hidden = !isBusy;
    this._again.hidden = this._remove.hidden = isBusy;
  }

  _show(result) {
    const { headers, blob } = result;
    this._results[this._parameters.output_format ?? "wav"] = result;
    this._seed = headers.get("X-Anivoice-Seed");
    this._state.textContent = t("files.done", {
      voice: decodeURIComponent(headers.get("X-Anivoice-Voice") ?? ""),
      seconds: Number(headers.get("X-Anivoice-Audio-Seconds")).toFixed(1),
      method: headers.get("X-Anivoice-Pitch-Method"),
      seed: this._seed,
    });
    this._player?.close();
    this._player = new Player(this._file, blob, this._file.name);
    const saving = FORMATS.map((format) =>
      make("button", { type: "button", onclick: () => this._save(format) }, t("files.save", { format: format.toUpperCase() })),
    );
    this._body.replaceChildren(this._player.element, make("div", { className: "row" }, saving));
    this._player.begin();
  }

  /** In another format the same is converted again, with the same seed. */
  async _save(format) {
    this._results[format] ??= await this._run({ ...this._parameters, output_format: format, seed: this._seed });
    const result = this._results[format];
    if (result) save(result.blob, result.fileName);
  }

  _leave() {
    this._player?.close();
    this.element.remove();
  }

  _button(key, onclick) {
    return make("button", { type: "button", onclick }, t(key));
  }
}
