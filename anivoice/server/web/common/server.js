// The page's own server, and the key that it may want.

import { AnivoiceClient } from "../../client.js";
import { at } from "./dom.js";
import { t } from "./texts.js";

const KEY = "anivoice.key";

export const server = new AnivoiceClient(location.origin, { key: sessionStorage.getItem(KEY) });

/** Asks the server; when it wants a key the visitor is asked, until it is right. Throws other AnivoiceErrors. */
export async function withKey(request) {
  for (let isWrong = false; ; isWrong = true) {
    try {
      return await request();
    } catch (error) {
      if (error.kind !== "key") throw error;
      server.key = await askForKey(isWrong && server.key !== null);
      sessionStorage.setItem(KEY, server.key);
    }
  }
}

let asking = null;

function askForKey(isWrong) {
  at("key-problem").hidden = !isWrong;
  at("key-problem").textContent = t("key.wrong");
  asking ??= new Promise((resolve) => {
    const dialog = at("key-dialog");
    dialog.oncancel = (event) => event.preventDefault();
    at("key-form").onsubmit = (event) => {
      event.preventDefault();
      dialog.close();
      asking = null;
      resolve(at("key").value);
    };
    dialog.showModal();
  });
  return asking;
}
