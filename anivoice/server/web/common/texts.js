// The page's words: one file for each language. `data-text` and `data-label` say which word goes where.

const LANGUAGES = ["en", "de"];
let texts = {};

/** The text of `key`, with `{names}` filled in. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const language = {
  get chosen() {
    const wished = [localStorage.getItem("anivoice.language"), ...navigator.languages.map((name) => name.slice(0, 2))];
    return wished.find((name) => LANGUAGES.includes(name)) ?? "en";
  },

  /** Loads the texts and puts them into the page. */
  async load() {
    texts = await (await fetch(`/web/texts/${this.chosen}.json`)).json();
    document.documentElement.lang = this.chosen;
    showTexts(document);
  },

  change(name) {
    localStorage.setItem("anivoice.language", name);
    location.reload();
  },
};

function showTexts(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
}
