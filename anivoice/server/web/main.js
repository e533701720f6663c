// The page: its views, its language, what the server says about itself.

import { at, make } from "./common/dom.js";
import { server, withKey } from "./common/server.js";
import { language, t } from "./common/texts.js";

const VIEWS = ["live", "files", "voices"];
const WARM_UP_MS = 1000;

async function begin() {
  await language.load();
  at("language").value = language.chosen;
  at("language").onchange = ({ target }) => language.change(target.value);
  addEventListener("hashchange", showView);
  showView();
  const views = await Promise.all(VIEWS.map((name) => import(`./${name}/view.js`)));
  const refresh = async () => {
    const names = await withKey(() => server.voices());
    await Promise.all(views.map((view) => view.setVoices(names)));
  };
  for (const view of views) view.begin({ refresh, useVoice });
  watchServer();
  await refresh().catch((error) => note(error.message));
  document.documentElement.dataset.ready = "true";

  function useVoice(name) {
    views[0].chooseVoice(name);
    location.hash = "#live";
    at("start").focus();
  }
}

function showView() {
  const wanted = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live";
  for (const name of VIEWS) at(name).hidden = name !== wanted;
  for (const link of at("tabs").children) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Until the server is warm. */
async function watchServer() {
  const state = await withKey(() => server.readiness()).catch(() => null);
  if (state === null || state.ready) return note("");
  note(state.problem ? t("server.failed", { reason: state.problem }) : t("server.warming"));
  setTimeout(watchServer, WARM_UP_MS);
}

function note(text) {
  at("server-note").hidden = !text;
  at("server-note").replaceChildren(make("span", {}, text));
}

begin();
