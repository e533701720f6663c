// The controls of a voice, made from one list, for live streams, files and a voice's defaults.

import { at, fillSelect, make } from "./dom.js";
import { t } from "./texts.js";

const METHODS = ["", "rmvpe", "fcpe", "crepe", "crepe-tiny", "harvest", "dio", "pm"];
const PRESETS = ["auto", "ultra", "low", "balanced", "quality"];
const FORMATS = ["wav", "flac", "ogg", "mp3"];
const semitones = (value) => t("unit.semitones", { value: value > 0 ? `+${value}` : value });
const percent = (value) => t("unit.percent", { value: Math.round(100 * value) });
const decibels = (value) => t("unit.db", { value });

/** name, where it belongs, its kind, range and default. */
const PARAMETERS = [
  { name: "model_name", kind: "voice", in: "live file" },
  { name: "pitch_change", min: -24, max: 24, step: 1, value: 0, show: semitones, in: "live file defaults" },
  { name: "formant_shift", min: -6, max: 6, step: 0.5, value: 0, show: semitones, in: "live file defaults" },
  { name: "index_rate", min: 0, max: 1, step: 0.05, value: 0, show: percent, in: "live file defaults" },
  { name: "preset", kind: "choice", options: PRESETS, value: "balanced", in: "live" },
  { name: "output_format", kind: "choice", options: FORMATS, value: "wav", in: "file" },
  { name: "protect", min: 0, max: 0.5, step: 0.01, value: 0.33, show: String, in: "live file defaults", more: true },
  { name: "volume_envelope", min: 0, max: 1, step: 0.05, value: 1, show: percent, in: "live file defaults", more: true },
  { name: "gate_db", min: -90, max: -20, step: 1, value: -60, show: decibels, in: "live", more: true },
  { name: "pitch_extraction_algo", kind: "choice", options: METHODS, value: "", in: "live file defaults", more: true },
  { name: "speaker_id", kind: "number", min: 0, value: 0, in: "live file", more: true },
];

/** Controls in `place` for `use` ("live", "file" or "defaults"). `onChange(changes)` after each change of a person's. */
export class ParameterForm {
  constructor(place, use, onChange = () => {}) {
    this._use = use;
    this._onChange = onChange;
    this._fields = new Map();
    this._defaults = {};
    const rows = PARAMETERS.filter((one) => one.in.split(" ").includes(use)).map((one) => [one, this._row(one)]);
    const more = make("div", { className: "controls" }, rows.filter(([one]) => one.more).map(([, row]) => row), this._resetButton());
    place.replaceChildren(
      ...rows.filter(([one]) => !one.more).map(([, row]) => row),
      make("details", {}, make("summary", {}, t("voice.more")), more),
    );
    this.values = {};
  }

  /** Those that are not the server's own defaults. */
  get values() {
    const values = {};
    for (const [name, { parameter, input }] of this._fields) {
      const value = parameter.kind === "choice" || parameter.kind === "voice" ? input.value : Number(input.value);
      if (value !== "" && (name in this._defaults || value !== parameter.value)) values[name] = value;
    }
    return values;
  }

  /** What is not in `values` gets the voice's default, else the server's. */
  set values(values) {
    for (const [name, { parameter, input, shown }] of this._fields) {
      if (parameter.kind === "voice" && !values[name]) continue;
      input.value = values[name] ?? this._defaults[name] ?? parameter.value;
      if (shown) shown.textContent = parameter.show(Number(input.value));
    }
  }

  /** What the voice itself prefers. */
  set defaults(defaults) {
    this._defaults = defaults ?? {};
  }

  get names() {
    return [...this._fields.keys()];
  }

  get voice() {
    return this._fields.get("model_name")?.input.value ?? "";
  }

  setVoices(names, chosen) {
    fillSelect(this._fields.get("model_name").input, names.map((name) => [name, name]), chosen ?? this.voice);
  }

  _row(parameter) {
    const text = t(`voice.${parameter.name}`);
    const id = `${this._use}-${parameter.name}`;
    const isSlider = !parameter.kind;
    const shown = isSlider ? make("output", { for: id }) : null;
    const input = this._input(parameter, id);
    this._fields.set(parameter.name, { parameter, input, shown });
    input.addEventListener(isSlider ? "input" : "change", () => this._changed(parameter, input, shown));
    if (!isSlider) return make("label", {}, make("span", {}, text), input);
    return make("label", { className: "slider" }, make("span", {}, make("span", {}, text), shown), input);
  }

  _input({ name, kind, options = [], min, max, step = 1, value }, id) {
    if (kind === "number") return make("input", { id, type: "number", min, step, value });
    if (!kind) return make("input", { id, type: "range", min, max, step, value });
    const select = make("select", { id });
    fillSelect(select, options.map((one) => [one, optionText(name, one)]), value);
    return select;
  }

  _changed(parameter, input, shown) {
    if (shown) shown.textContent = parameter.show(Number(input.value));
    const isText = parameter.kind === "choice" || parameter.kind === "voice";
    this._onChange({ [parameter.name]: isText ? input.value || null : Number(input.value) });
  }

  _resetButton() {
    const reset = () => {
      this.values = { model_name: this.voice };
      const all = [...this._fields].map(([name, { input }]) => [name, input.type === "range" ? Number(input.value) : input.value]);
      this._onChange(Object.fromEntries(all.filter(([, value]) => value !== "")));
    };
    return make("button", { type: "button", onclick: reset }, t("voice.reset"));
  }
}

function optionText(name, value) {
  if (name === "preset") return t(`voice.preset_${value}`);
  return value || t("voice.method_default");
}

/** Puts `values` of a slider beside it. */
export function showLevel(id, place) {
  const show = () => (at(place).textContent = decibels(Number(at(id).value)));
  at(id).addEventListener("input", show);
  show();
}
