// A panel for a browser source or a dock of OBS, over the control WebSocket. What the address may say: docs in clients/obs.

const FLOOR_DB = -60;
const FALL_DB = 3; // of the meters, from one reading to the next
const RETRY_MS = 1000;
const CLIENT_DELAY_MS = 60; // a message of 20 ms, its way and a small playback buffer

const options = new URLSearchParams(`${location.search.slice(1)}&${location.hash.slice(1)}`);
const key = options.get("key");
const element = (id) => document.getElementById(id);

let socket = null;
let sessions = [];
const shown = {};

/** The subprotocol that carries the key: pages cannot set headers on a WebSocket. */
function protocols() {
  if (!key) return ["anivoice"];
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  const text = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["anivoice", `key.${text}`];
}

function connect() {
  socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/control`, protocols());
  socket.onopen = () => send({ interval_ms: Number(options.get("interval") ?? 100) });
  socket.onmessage = ({ data }) => take(JSON.parse(data));
  socket.onclose = () => {
    say("No connection to the server; trying again.");
    setTimeout(connect, RETRY_MS);
  };
}

function take(message) {
  if (message.event === "sessions") {
    sessions = message.sessions;
    show();
  } else if (message.event === "presets") {
    fill(element("preset"), ["", ...Object.keys(message.presets)], "");
  } else if (message.event === "refused") {
    say(message.error);
  } else if (message.event === "done") {
    say(Object.values(message.errors)[0] ?? "");
  }
}

function send(command) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

/** Changes the session that is shown. */
function change(values) {
  const session = chosen();
  if (session) send({ change: values, session: session.id });
}

/** The one that was chosen, here or in the address, else the first. */
function chosen() {
  const wanted = element("session").value || options.get("session");
  return sessions.find((one) => one.id === wanted) ?? sessions[0];
}

function show() {
  const session = chosen();
  fill(element("session"), sessions.map((one) => one.id), session?.id ?? "");
  for (const control of document.querySelectorAll("select, button")) control.disabled = !session;
  if (!session) return say("Nobody is speaking through the server.");
  if (element("note").textContent.startsWith("N") || element("note").textContent === "Connecting.") say("");
  if (document.activeElement !== element("voice")) element("voice").value = session.voice ?? "";
  for (const name of ["mute", "passthrough"]) element(name).setAttribute("aria-pressed", String(Boolean(session.parameters[name])));
  showMeter("input", session.levels_db?.input);
  showMeter("output", session.levels_db?.output);
  const total = session.delay_ms === undefined ? undefined : Math.round(session.delay_ms + Number(options.get("add") ?? CLIENT_DELAY_MS));
  element("delay").textContent = session.delay_ms === undefined ? "" : `${Math.round(session.delay_ms)} ms`;
  element("offset").textContent = total === undefined ? "" : `${-total} ms`;
  element("dropped").textContent = String(session.dropped_blocks);
}

/** Falls slowly: audio comes in blocks, and between two of them there is nothing. */
function showMeter(name, now = -120) {
  const level = (shown[name] = Math.max(now, (shown[name] ?? -120) - FALL_DB));
  element(name).style.width = `${100 * Math.min(Math.max(1 - level / FLOOR_DB, 0), 1)}%`;
  element(`${name}-db`).textContent = level > FLOOR_DB ? `${level.toFixed(0)} dB` : "";
}

function say(text) {
  element("note").textContent = text;
  element("note").hidden = !text;
}

/** Only when something is new: a list that is open stays open. */
function fill(select, names, value) {
  if (JSON.stringify(names) !== select.dataset.names) {
    select.dataset.names = JSON.stringify(names);
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (document.activeElement !== select) select.value = value;
}

async function loadVoices() {
  const answer = await fetch("/models", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (!answer.ok) throw new Error((await answer.json()).error);
  fill(element("voice"), (await answer.json()).models, "");
}

function showWantedParts() {
  const wanted = options.get("show")?.split(",");
  for (const part of document.querySelectorAll("[data-part]")) part.hidden = wanted !== undefined && !wanted.includes(part.dataset.part);
  document.body.classList.toggle("transparent", options.has("transparent"));
}

element("voice").onchange = ({ target }) => change({ model_name: target.value, passthrough: false });
element("preset").onchange = ({ target }) => {
  const session = chosen();
  if (session && target.value) send({ apply: target.value, session: session.id });
  target.value = "";
};
element("session").onchange = show;
for (const name of ["mute", "passthrough"]) {
  element(name).onclick = ({ currentTarget }) => change({ [name]: currentTarget.getAttribute("aria-pressed") !== "true" });
}
showWantedParts();
loadVoices().catch((error) => say(error.message)).finally(connect);
