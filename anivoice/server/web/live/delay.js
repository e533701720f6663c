// The delay, promised and measured, term by term.

import { at, make } from "../common/dom.js";
import { t } from "../common/texts.js";

const SMOOTHING = 0.15;
let smooth = null;

/** Forgets the stream before. */
export function clearDelay() {
  smooth = null;
  at("delay-total").textContent = "–";
  at("delay-rows").replaceChildren();
  at("delay-blocks").textContent = "";
}

/** `promised`: the terms of the event `ready`; `measured`: of LiveAudio; both in ms, `measured` may be null. */
export function showDelay(promised, measured, network) {
  smooth = measured && blend(smooth, measured);
  const [total, key] = smooth ? [smooth.total, "delay.total"] : [promised.total, "delay.promised_total"];
  const [figure, unit] = t(key, { ms: Math.round(total) }).split("<small>");
  at("delay-total").replaceChildren(figure, make("small", {}, unit.replace("</small>", "")));
  const longest = Math.max(promised.total, smooth?.total ?? 0);
  const rows = [heading("delay.promised"), ...terms(promised, longest)];
  if (smooth) rows.unshift(heading("delay.measured"), ...terms(smooth, longest));
  if (network) rows.splice(smooth ? 3 : 0, 0, row("delay.network", network.roundTripMs, longest));
  at("delay-rows").replaceChildren(...rows);
}

export function showBlocks(stats, board) {
  const counts = { blocks: stats.blocks, dropped: stats.dropped_blocks, late: stats.late };
  at("delay-blocks").textContent = t("delay.blocks", { ...counts, gaps: board.get("numGaps"), cuts: board.get("numCuts") });
}

function blend(before, now) {
  if (before === null) return now;
  return Object.fromEntries(Object.entries(now).map(([name, ms]) => [name, before[name] + SMOOTHING * (ms - before[name])]));
}

function heading(key) {
  return make("div", { className: "delay-row" }, make("h4", {}, t(key)));
}

function terms(values, longest) {
  return Object.entries(values).map(([name, ms]) => row(name === "total" ? "delay.sum" : `delay.${name}`, ms, longest));
}

function row(key, ms, longest) {
  const bar = make("div", { className: "bar", "aria-hidden": "true" });
  bar.style.width = `${Math.min(100, (100 * Math.max(ms, 0)) / longest)}%`;
  return make("div", { className: "delay-row" }, make("span", {}, t(key)), bar, make("span", {}, `${ms.toFixed(0)} ms`));
}
