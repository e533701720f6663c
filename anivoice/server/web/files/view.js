// The Files view: recordings in, changed recordings out.

import { openMicrophone } from "../audio/live-audio.js";
import { at } from "../common/dom.js";
import { ParameterForm } from "../common/parameters.js";
import { showProblem } from "../common/problems.js";
import { withKey, server } from "../common/server.js";
import { store } from "../common/store.js";
import { t } from "../common/texts.js";
import { takeDrops } from "./drop.js";
import { Job } from "./job.js";

let form = null;
let recorder = null;

export function begin() {
  form = new ParameterForm(at("file-parameters"), "file", changed);
  takeDrops(at("drop"), at("file"), add);
  at("record-file").onclick = () => (recorder ? recorder.stop() : record());
}

export function setVoices(names) {
  form.setVoices(names, form.voice || store.get("last-voice", names[0]));
  if (form.voice) recall();
}

async function changed(changes) {
  if (changes.model_name) await recall();
}

async function recall() {
  const name = form.voice;
  const voice = await withKey(() => server.voice(name)).catch(() => ({}));
  if (form.voice !== name) return;
  const { output_format } = form.values;
  form.defaults = voice.defaults;
  form.values = { model_name: name, output_format, ...voice.defaults };
}

function add(files) {
  for (const file of files) {
    const job = new Job(file, () => form.values);
    at("jobs").prepend(job.element);
    job.convert();
  }
}

async function record() {
  showProblem(at("files-problem"), null);
  try {
    const stream = await openMicrophone(null);
    recordStream(stream);
  } catch (error) {
    showProblem(at("files-problem"), error);
  }
}

function recordStream(stream) {
  const pieces = [];
  const startMs = performance.now();
  recorder = new MediaRecorder(stream);
  const show = () => {
    const seconds = Math.round((performance.now() - startMs) / 1000);
    at("record-file-text").textContent = t("files.stop", { seconds });
  };
  const timer = setInterval(show, 250);
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  recorder.onstop = () => {
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
    add([fileOf(pieces, recorder.mimeType)]);
    recorder = null;
    showRecording(false);
    at("record-file-text").textContent = t("files.record");
  };
  recorder.start();
  showRecording(true);
  show();
}

function showRecording(isOn) {
  at("record-file").setAttribute("aria-pressed", String(isOn));
}

function fileOf(pieces, type) {
  const ending = type.includes("mp4") ? "m4a" : "webm";
  return new File(pieces, `${t("files.recorded")}.${ending}`, { type });
}
