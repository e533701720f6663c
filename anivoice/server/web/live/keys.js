// Keys while the Live view is shown: letters for its buttons, the space bar to speak.

import { at } from "../common/dom.js";

const BUTTONS = { s: "start", m: "mute", p: "passthrough", r: "record" };

/** `onTalk(isHeld)`: push to talk. */
export function beginKeys(onTalk) {
  addEventListener("keydown", (event) => {
    if (!concernsLive(event)) return;
    if (event.code === "Space" && at("talk").checked) {
      event.preventDefault();
      if (!event.repeat) onTalk(true);
    } else if (at("hotkeys").checked && !event.repeat && BUTTONS[event.key]) {
      at(BUTTONS[event.key]).click();
    }
  });
  addEventListener("keyup", (event) => {
    if (event.code === "Space" && at("talk").checked) onTalk(false);
  });
  addEventListener("blur", () => at("talk").checked && onTalk(false));
}

/** Not while something is typed or chosen, nor with a modifier. */
function concernsLive(event) {
  if (at("live").hidden || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return false;
  const isTyping = event.target.closest?.("input:not([type=range], [type=checkbox]), select, textarea") !== null;
  const presses = event.code === "Space" && event.target.closest?.("button, a, summary, [type=checkbox]") && !at("talk").checked;
  return !isTyping && !presses;
}
