// What went wrong, in words, and what helps.

import { make } from "./dom.js";
import { t } from "./texts.js";

/** Shows `error` in `place`: the remedy for its kind, then the server's own sentence. Null hides it. */
export function showProblem(place, error) {
  place.hidden = !error;
  place.replaceChildren();
  if (!error) return;
  const key = `problem.${error.kind ?? "broken"}`;
  place.append(make("strong", {}, t(key)));
  if (error.message) place.append(error.message);
}
