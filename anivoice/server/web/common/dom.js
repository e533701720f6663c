// Small helpers for the page's elements.

export function at(id) {
  return document.getElementById(id);
}

/** A new element: `make("button", { type: "button", onclick }, "text")`; names with a dash are attributes. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function fillSelect(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = options.some(([key]) => key === value) ? value : (options[0]?.[0] ?? "");
}

/** Saves `blob` as a file of the visitor's. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
