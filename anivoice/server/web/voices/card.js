// One voice in the list.

import { make } from "../common/dom.js";
import { showProblem } from "../common/problems.js";
import { server, withKey } from "../common/server.js";
import { t } from "../common/texts.js";

const MEBIBYTE = 2 ** 20;
let playing = null;

/** `voice` as `GET /models/NAME` tells it, or its name alone. */
export function makeCard(voice, { use, edit, remove }) {
  const { name } = voice;
  const problem = make("div", { className: "problem", role: "alert", hidden: true });
  const told = voice.problem ?? voice.index?.problem;
  const button = (key, onclick, className = "") =>
    make("button", { type: "button", className, onclick, "aria-label": `${t(key)}: ${name}` }, t(key));
  const buttons = [button("voices.use", () => use(name), "primary")];
  if (voice.file && !voice.problem) {
    const listen = button("voices.preview", () => preview(name, listen, problem));
    buttons.push(listen);
  }
  if (voice.can_change) {
    buttons.push(button("voices.edit", () => edit(voice)));
    buttons.push(button("voices.remove", () => remove(name), "danger"));
  }
  const title = make("div", {}, make("h3", {}, name), make("p", { className: "faint" }, voice.file ?? ""));
  return make(
    "li",
    { className: "card voice" },
    make("div", { className: "voice-head" }, face(voice), title),
    make("div", { className: "tags" }, tags(voice).map((tag) => make("span", { className: "tag" }, tag))),
    told ? make("p", { className: "problem" }, told) : null,
    problem,
    make("div", { className: "row" }, buttons),
  );
}

/** The picture, or the first letter. It is fetched: an `img` could not send the key. */
function face({ name, picture }) {
  if (!picture) return make("span", { className: "face", "aria-hidden": "true" }, name.slice(0, 1).toUpperCase());
  const image = make("img", { className: "face", alt: "" });
  withKey(() => server.picture(name)).then((blob) => (image.src = URL.createObjectURL(blob)), () => image.replaceWith(face({ name })));
  return image;
}

function tags(voice) {
  if (!voice.version) return voice.size_bytes ? [size(voice.size_bytes)] : [];
  return [
    voice.version,
    `${voice.sample_rate_hz / 1000} kHz`,
    t(voice.has_f0 ? "voices.f0" : "voices.no_f0"),
    voice.num_speakers > 1 ? t("voices.speakers", { count: voice.num_speakers }) : null,
    voice.index && !voice.index.problem ? t("voices.index") : null,
    voice.embedder_model,
    size(voice.size_bytes),
  ].filter(Boolean);
}

function size(numBytes) {
  return `${Math.max(1, Math.round(numBytes / MEBIBYTE))} MB`;
}

async function preview(name, button, problem) {
  playing?.pause();
  showProblem(problem, null);
  button.textContent = t("voices.preview_running");
  button.disabled = true;
  try {
    const url = URL.createObjectURL(await withKey(() => server.preview(name)));
    const audio = (playing = new Audio(url));
    audio.onended = () => URL.revokeObjectURL(url);
    await audio.play();
  } catch (error) {
    showProblem(problem, error);
  }
  button.textContent = t("voices.preview");
  button.disabled = false;
}
