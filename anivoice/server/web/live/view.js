// The Live view: speak, and hear the new voice.

import { LiveAudio } from "../audio/live-audio.js";
import { at } from "../common/dom.js";
import { ParameterForm, showLevel } from "../common/parameters.js";
import { showProblem } from "../common/problems.js";
import { server, withKey } from "../common/server.js";
import { store } from "../common/store.js";
import { t } from "../common/texts.js";
import { clearDelay, showBlocks, showDelay } from "./delay.js";
import { beginDevices, chosenDevices, chosenMonitor, listDevices } from "./devices.js";
import { beginKeys } from "./keys.js";
import { measureLoop } from "./loopback.js";
import { Meter } from "./meters.js";
import { addRecording } from "./recordings.js";
import { Recorder } from "./recorder.js";
import { beginSetups } from "./setups.js";
import { Spectrogram } from "./spectrogram.js";
import { suggestPreset } from "./suggest.js";

const DELAY_MS = 250;
const REOPENING = ["microphone", "noise", "echo", "auto-gain"];

let audio = null;
let form = null;
let recorder = null;
let isHeld = false;
let meters = null;
let spectrogram = null;
let shownMs = 0;

export function begin() {
  form = new ParameterForm(at("live-parameters"), "live", changed);
  meters = { in: new Meter("in"), out: new Meter("out") };
  spectrogram = new Spectrogram(at("spectrogram"));
  showLevel("gain", "gain-shown");
  showLevel("monitor-level", "monitor-shown");
  beginDevices(deviceChanged);
  beginSetups(takeSetup, () => form.values);
  beginKeys(talk);
  at("start").onclick = () => (audio ? stop() : start());
  at("mute").onclick = () => press("mute", applyMute);
  at("passthrough").onclick = () => press("passthrough", () => audio?.set({ passthrough: isPressed("passthrough") }));
  at("record").onclick = record;
  at("loopback").onclick = loopback;
  at("suggest").onclick = suggest;
  at("monitor-more").hidden = !at("monitor").checked;
  tell("live.idle");
}

export function setVoices(names) {
  form.setVoices(names, form.voice || store.get("last-voice", names[0]));
  at("start").disabled = names.length === 0;
  if (names.length === 0) tell("voice.none");
  else recall(form.voice);
}

export function chooseVoice(name) {
  form.values = { model_name: name };
  changed({ model_name: name });
}

/** The settings that this voice was left with; before that, what the voice itself prefers. */
async function recall(name) {
  store.set("last-voice", name);
  const voice = await withKey(() => server.voice(name)).catch(() => ({}));
  if (form.voice !== name) return {};
  form.defaults = voice.defaults;
  const kept = store.get(`voice.${name}`, null);
  form.values = { model_name: name, ...(kept ?? voice.defaults) };
  return form.values;
}

async function changed(changes) {
  if (changes.model_name) changes = { ...changes, ...(await recall(changes.model_name)) };
  else store.set(`voice.${form.voice}`, form.values);
  audio?.set(changes);
}

function takeSetup(values) {
  form.values = values;
  store.set(`voice.${form.voice}`, form.values);
  audio?.set(streamParameters());
}

function streamParameters() {
  return { preset: "balanced", ...form.values, passthrough: isPressed("passthrough") };
}

async function start() {
  showProblem(at("live-problem"), null);
  clearDelay();
  tell("live.opening");
  at("start").disabled = true;
  const started = new LiveAudio({ onEvent, onState, onProblem, onEnd });
  audio = started;
  try {
    await started.start({ ...chosenDevices(), parameters: streamParameters(), key: server.key });
  } catch (error) {
    onEnd(error);
    return;
  } finally {
    at("start").disabled = false;
  }
  listDevices();
  showRunning(true);
  applyMute();
  started.setGain(Number(at("gain").value));
  started.monitor.set(chosenMonitor()).catch(monitorFailed);
  spectrogram.listen(started.analyser);
  requestAnimationFrame(draw);
  if (!started.ready) tell("live.connecting");
}

function stop() {
  if (recorder) record();
  const stopped = audio;
  audio = null;
  stopped?.stop();
  showRunning(false);
  tell("live.stopped");
}

function onEvent(event) {
  if (event.event === "stats" && audio) showBlocks(event, audio.board);
  if (event.event === "ready" || event.event === "changed") tellRunning();
}

function onState(state) {
  if (state === "reconnecting") tell("live.reconnecting");
  else tellRunning();
}

function onProblem(error) {
  showProblem(at("live-problem"), error);
}

function onEnd(error) {
  if (audio) stop();
  if (error) showProblem(at("live-problem"), error);
}

function showRunning(isRunning) {
  at("start").classList.toggle("running", isRunning);
  at("start-text").textContent = t(isRunning ? "live.stop" : "live.start");
  for (const id of ["mute", "passthrough", "record", "loopback"]) at(id).disabled = !isRunning;
}

function tell(key, values) {
  at("live-status").textContent = t(key, values);
}

function tellRunning() {
  if (!audio?.ready) return;
  if (isPressed("mute")) tell("live.muted");
  else if (at("talk").checked && !isHeld) tell("live.talk");
  else if (isPressed("passthrough")) tell("live.own");
  else tell("live.running", { voice: form.voice });
}

function draw(nowMs) {
  if (!audio) return;
  const board = audio.board;
  meters.in.show(board.get("inputPeak"), board.get("inputClipped"), nowMs);
  meters.out.show(board.get("outputPeak"), board.get("outputClipped"), nowMs);
  const f0Hz = spectrogram.show(nowMs);
  if (f0Hz !== undefined) at("pitch-now").textContent = f0Hz ? t("live.pitch", { hz: Math.round(f0Hz) }) : "";
  if (nowMs - shownMs > DELAY_MS && audio.ready) {
    shownMs = nowMs;
    showDelay(audio.ready.latency_ms, audio.delayMs, audio.network);
  }
  requestAnimationFrame(draw);
}

function isPressed(id) {
  return at(id).getAttribute("aria-pressed") === "true";
}

function press(id, then) {
  at(id).setAttribute("aria-pressed", String(!isPressed(id)));
  then();
  tellRunning();
}

function talk(isNowHeld) {
  isHeld = isNowHeld;
  applyMute();
  tellRunning();
}

function applyMute() {
  if (audio) audio.isMuted = isPressed("mute") || (at("talk").checked && !isHeld);
}

function record() {
  at("record").setAttribute("aria-pressed", String(!recorder));
  if (!recorder) {
    recorder = new Recorder(audio);
    return;
  }
  addRecording(recorder.stop(), audio.rateHz, form.voice);
  recorder = null;
}

async function deviceChanged(id) {
  at("monitor-more").hidden = !at("monitor").checked;
  if (id === "talk") talk(false);
  if (!audio) return;
  if (REOPENING.includes(id)) {
    stop();
    await start();
  } else if (id === "output") {
    audio.setOutput(at("output").value).catch(onProblem);
  } else if (id === "gain") {
    audio.setGain(Number(at("gain").value));
  } else if (id.startsWith("monitor")) {
    audio.monitor.set(chosenMonitor()).catch(monitorFailed);
  }
}

function monitorFailed(error) {
  onProblem({ kind: "output_missing", message: error.message });
}

async function loopback() {
  at("measure-status").textContent = t("delay.loopback_running");
  at("loopback").disabled = true;
  const measured = audio;
  const result = await measureLoop(measured, isPressed("passthrough"));
  if (audio !== measured) return;
  at("loopback").disabled = false;
  audio.setGain(Number(at("gain").value));
  const shown = result && Object.fromEntries(Object.entries(result).map(([name, ms]) => [name, Math.round(ms)]));
  at("measure-status").textContent = result ? t("delay.loopback_result", shown) : t("delay.loopback_lost");
}

async function suggest() {
  if (audio) stop();
  at("suggest").disabled = at("start").disabled = true;
  const say = (key, values) => (at("measure-status").textContent = t(key, values));
  try {
    const { preset, blockMs, computeMs, isInTime } = await suggestPreset(form.values, (left) => say("delay.suggest_running", { left }));
    form.values = { ...form.values, preset };
    store.set(`voice.${form.voice}`, form.values);
    const shown = { preset: t(`voice.preset_${preset}`), block: Math.round(blockMs), compute: Math.round(computeMs) };
    say(isInTime ? "delay.suggest_result" : "delay.suggest_none", shown);
  } catch (error) {
    say("live.stopped");
    showProblem(at("live-problem"), error);
  }
  at("suggest").disabled = at("start").disabled = false;
}
