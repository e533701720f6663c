// The dialog that changes a voice: its name, picture and defaults.

import { at } from "../common/dom.js";
import { ParameterForm } from "../common/parameters.js";
import { showProblem } from "../common/problems.js";
import { server, withKey } from "../common/server.js";
import { t } from "../common/texts.js";

let form = null;
let voice = null;

/** `done(key, name)` when it is changed. */
export function beginEditing(done) {
  form = new ParameterForm(at("voice-defaults"), "defaults");
  at("voice-cancel").onclick = () => at("voice-dialog").close();
  at("voice-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      const name = await save();
      at("voice-dialog").close();
      await done("voices.saved", name);
    } catch (error) {
      showProblem(at("voice-form-problem"), error);
    }
  };
}

export function edit(chosen) {
  voice = chosen;
  at("voice-dialog-title").textContent = t("voices.edit_title", { name: voice.name });
  at("voice-name").value = voice.name;
  at("voice-picture").value = "";
  form.values = voice.defaults ?? {};
  showProblem(at("voice-form-problem"), null);
  at("voice-dialog").showModal();
}

async function save() {
  const name = at("voice-name").value.trim();
  const changes = { defaults: { ...kept(), ...form.values } };
  if (name !== voice.name) changes.name = name;
  await withKey(() => server.change(voice.name, changes));
  const [picture] = at("voice-picture").files;
  if (picture) await withKey(() => server.setPicture(name, picture));
  return name;
}

/** Defaults that this dialog does not show. */
function kept() {
  const shown = new Set(form.names);
  return Object.fromEntries(Object.entries(voice.defaults ?? {}).filter(([name]) => !shown.has(name)));
}
