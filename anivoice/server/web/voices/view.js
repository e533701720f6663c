// The Voices view: what is there, how it sounds, and new ones.

import { at, make } from "../common/dom.js";
import { showProblem } from "../common/problems.js";
import { server, withKey } from "../common/server.js";
import { t } from "../common/texts.js";
import { takeDrops } from "../files/drop.js";
import { makeCard } from "./card.js";
import { beginEditing, edit } from "./edit.js";

let page = null;

/** `refresh()` asks for the voices again, `useVoice(name)` goes live with one. */
export function begin(given) {
  page = given;
  takeDrops(at("voice-drop"), at("voice-file"), upload);
  beginEditing(done);
}

export async function setVoices(names) {
  const actions = { use: page.useVoice, edit, remove };
  const voices = await Promise.all(names.map((name) => withKey(() => server.voice(name)).catch(() => ({ name }))));
  at("voice-list").replaceChildren(...voices.map((voice) => makeCard(voice, actions)));
  at("voice-drop").hidden = voices.length > 0 && !voices.some((voice) => voice.can_change);
  if (!names.length) say("voices.none");
}

async function upload(files) {
  showProblem(at("voices-problem"), null);
  const progress = at("voice-progress");
  progress.hidden = false;
  const onProgress = (share) => {
    progress.value = share ?? 0;
    if (share === 1) say("voices.checking");
  };
  try {
    const options = { replace: at("voice-replace").checked || undefined, onProgress };
    const { voices, left_out: leftOut } = await withKey(() => server.upload(files, options));
    say("voices.added", { names: voices.map((voice) => voice.name).join(", ") });
    if (leftOut.length) addLeftOut(leftOut);
    await page.refresh();
  } catch (error) {
    at("voices-status").textContent = "";
    showProblem(at("voices-problem"), error);
  }
  progress.hidden = true;
}

function addLeftOut(leftOut) {
  const files = leftOut.map(({ file, reason }) => `${file} (${reason})`).join(", ");
  at("voices-status").append(make("br"), t("voices.left_out", { files }));
}

async function remove(name) {
  if (!confirm(t("voices.remove_sure", { name }))) return;
  try {
    await withKey(() => server.remove(name));
    await done("voices.removed", name);
  } catch (error) {
    showProblem(at("voices-problem"), error);
  }
}

async function done(key, name) {
  showProblem(at("voices-problem"), null);
  await page.refresh();
  say(key, { name });
}

function say(key, values) {
  at("voices-status").textContent = t(key, values);
}
