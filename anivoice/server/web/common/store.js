// What the browser remembers: settings of each voice, named set-ups, devices. Never the key.

const PREFIX = "anivoice.";

export const store = {
  get(name, fallback) {
    try {
      return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
    } catch {
      return fallback;
    }
  },

  set(name, value) {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  },
};
