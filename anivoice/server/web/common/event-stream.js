// Server-sent events that come as the answer of an upload.

/**
 * The events of `request` (`text` grows, `onText` is called) until `done` is fulfilled. Throws what `done` throws.
 * @yields {{name: string, data: object}}
 */
export async function* readEvents(request, done) {
  let read = 0;
  let isOver = false;
  let wake = () => {};
  request.onText = () => wake();
  const ended = done.finally(() => {
    isOver = true;
    wake();
  });
  ended.catch(() => {});
  while (true) {
    const wasOver = isOver;
    for (let end = request.text.indexOf("\n\n", read); end >= 0; end = request.text.indexOf("\n\n", read)) {
      const event = parseEvent(request.text.slice(read, end));
      read = end + 2;
      if (event) yield event;
    }
    if (wasOver) break;
    if (!isOver) await new Promise((resolve) => (wake = resolve));
  }
  await ended;
}

export function parseEvent(text) {
  const fields = { event: "message", data: [] };
  for (const line of text.split("\n")) {
    const [, name, value] = /^(event|data): ?(.*)$/.exec(line.trimEnd()) ?? [];
    if (name === "event") fields.event = value;
    else if (name === "data") fields.data.push(value);
  }
  return fields.data.length ? { name: fields.event, data: JSON.parse(fields.data.join("\n")) } : null;
}
