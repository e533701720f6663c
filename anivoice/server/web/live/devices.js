// Microphones and outputs: which there are, which is chosen.

import { at, fillSelect } from "../common/dom.js";
import { store } from "../common/store.js";
import { t } from "../common/texts.js";

const SELECTS = { microphone: "audioinput", output: "audiooutput", "monitor-device": "audiooutput" };
const SWITCHES = ["noise", "echo", "auto-gain", "talk", "hotkeys", "monitor"];
const LEVELS = ["gain", "monitor-level"];
const DEFAULTS = { hotkeys: true };

/** `onChange(id)` after each change of a person's. */
export function beginDevices(onChange) {
  const kept = store.get("devices", {});
  for (const id of [...SWITCHES, ...LEVELS]) {
    const input = at(id);
    if (input.type === "checkbox") input.checked = kept[id] ?? DEFAULTS[id] ?? false;
    else input.value = kept[id] ?? input.value;
  }
  for (const id of [...SWITCHES, ...LEVELS, ...Object.keys(SELECTS)]) {
    at(id).addEventListener("input", () => {
      keep();
      onChange(id);
    });
  }
  at("no-sinks").hidden = "setSinkId" in AudioContext.prototype;
  at("output").parentElement.hidden = !at("no-sinks").hidden;
  at("monitor-device").parentElement.hidden = !("setSinkId" in HTMLMediaElement.prototype);
  navigator.mediaDevices?.addEventListener("devicechange", listDevices);
  return listDevices();
}

/** Again after a microphone was allowed: only then browsers tell the names. */
export async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const kept = store.get("devices", {});
  for (const [id, kind] of Object.entries(SELECTS)) {
    const known = devices.filter((device) => device.kind === kind && device.deviceId && device.deviceId !== "default");
    const named = known.map(({ deviceId, label }, k) => [deviceId, label || t("devices.numbered", { number: k + 1 })]);
    fillSelect(at(id), [["", t("devices.default")], ...named], kept[id]);
  }
}

export function chosenDevices() {
  return {
    microphone: at("microphone").value || null,
    output: at("output").value,
    browser: { noise: at("noise").checked, echo: at("echo").checked, autoGain: at("auto-gain").checked },
  };
}

export function chosenMonitor() {
  return { isOn: at("monitor").checked, deviceId: at("monitor-device").value, levelDb: Number(at("monitor-level").value) };
}

function keep() {
  const values = {};
  for (const id of SWITCHES) values[id] = at(id).checked;
  for (const id of [...LEVELS, ...Object.keys(SELECTS)]) values[id] = at(id).value;
  store.set("devices", values);
}
