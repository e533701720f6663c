// Named set-ups: a voice with all its settings.

import { at, fillSelect } from "../common/dom.js";
import { store } from "../common/store.js";
import { t } from "../common/texts.js";

/** `take(values)` puts a set-up into the controls, `current()` tells what they say. */
export function beginSetups(take, current) {
  show();
  at("setup").onchange = () => {
    const setup = store.get("setups", {})[at("setup").value];
    at("setup-name").value = at("setup").value;
    if (setup) take(setup);
  };
  at("setup-save").onclick = () => {
    const name = at("setup-name").value.trim();
    if (!name) return at("setup-name").focus();
    store.set("setups", { ...store.get("setups", {}), [name]: current() });
    return show(name);
  };
  at("setup-remove").onclick = () => {
    const { [at("setup").value]: _, ...others } = store.get("setups", {});
    store.set("setups", others);
    show();
  };
}

function show(chosen = "") {
  const names = Object.keys(store.get("setups", {})).sort();
  fillSelect(at("setup"), [["", t("setups.none")], ...names.map((name) => [name, name])], chosen);
}
