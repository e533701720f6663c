// Shows /openapi.json.

function node(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Text with `code` between backquotes.
function prose(text) {
  const parts = String(text).split("`");
  return parts.map((part, place) => (place % 2 ? node("code", {}, part) : part));
}

function resolve(api, schema) {
  return schema.$ref ? schema.$ref.slice(2).split("/").reduce((at, key) => at[key], api) : schema;
}

function typeOf(schema) {
  const choices = schema.anyOf ?? [schema];
  const names = choices.filter((choice) => choice.type !== "null").map((choice) => {
    if (choice.enum) return choice.enum.join(" | ");
    const low = choice.minimum, high = choice.maximum;
    if (choice.const) return choice.const;
    if (choice.$ref) return choice.$ref.split("/").pop();
    const range = low !== undefined && high !== undefined && high < 2 ** 53 ? `, ${low} to ${high}` : "";
    return (choice.contentMediaType ? "file" : choice.type ?? "any") + range;
  });
  return names.join(" or ");
}

function table(heads, rows) {
  const head = node("tr", {}, ...heads.map((text) => node("th", {}, text)));
  const body = rows.map((cells) => node("tr", {}, ...cells.map((cell) => node("td", {}, ...[cell].flat()))));
  return node("table", {}, node("thead", {}, head), node("tbody", {}, ...body));
}

function parameterTable(schema) {
  const rows = Object.entries(schema.properties).map(([name, property]) => {
    const required = (schema.required ?? []).includes(name);
    const fallback = required ? "required" : property.default === null || property.default === undefined ? "" : String(property.default);
    return [node("code", {}, name), typeOf(property), fallback, prose(property.description ?? "")];
  });
  return table(["name", "type", "default", "meaning"], rows);
}

function example(api, method, path, operation) {
  const kind = Object.keys(operation.requestBody?.content ?? {})[0] ?? "";
  const key = operation.security?.length ? ' -H "Authorization: Bearer KEY"' : "";
  const url = location.origin + path;
  if (kind.startsWith("multipart")) return `curl -F audio_file=@speech.wav -F pitch_change=12${key} -o out.wav ${url}`;
  if (kind) return `curl -H "Content-Type: application/json" -d '{"pitch_change": 12}'${key} ${url}`;
  return `curl${method === "post" ? " -X POST" : ""}${key} ${url}`;
}

function answerRows(operation) {
  return Object.entries(operation.responses).map(([status, answer]) =>
    [node("code", {}, status), Object.keys(answer.content ?? {}).join(", "), prose(answer.description)]);
}

// A WebSocket: every text frame of both directions with its fields, and the codes that it ends with.
function socketParts(api, socket) {
  if (!socket) return [];
  const parts = [];
  for (const [title, frames] of [["Send", socket.send], ["Receive", socket.receive]]) {
    parts.push(node("h2", {}, `${title}: binary frames`), node("p", {}, frames.binary ?? "None."));
    const text = resolve(api, frames.text);
    for (const choice of text.anyOf ?? text.oneOf ?? [text]) {
      const schema = resolve(api, choice);
      parts.push(node("h2", {}, `${title}: text frames, ${schema.title}`), node("p", {}, ...prose(schema.description ?? "")),
        parameterTable(schema));
    }
  }
  const codes = Object.entries(socket.closeCodes ?? {}).map(([code, meaning]) => [node("code", {}, code), meaning]);
  return [...parts, node("h2", {}, "Ends with"), table(["close code", "meaning"], codes)];
}

function card(api, path, method, operation) {
  const body = node("div", { className: "body", tabIndex: 0 });
  for (const [kind, content] of Object.entries(operation.requestBody?.content ?? {})) {
    const schema = resolve(api, content.schema ?? {});
    body.append(node("h2", {}, `Takes ${kind}`));
    if (schema.properties) body.append(parameterTable(schema));
  }
  if (operation.parameters) {
    const rows = operation.parameters.map((one) => [node("code", {}, one.name), one.in, prose(one.description)]);
    body.append(node("h2", {}, "In the address"), table(["name", "where", "meaning"], rows));
  }
  body.append(node("h2", {}, "Answers"), table(["status", "content", "meaning"], answerRows(operation)));
  const headers = Object.values(operation.responses).find((answer) => answer.headers)?.headers ?? {};
  if (Object.keys(headers).length) {
    const rows = Object.entries(headers).map(([name, header]) => [node("code", {}, name), prose(header.description)]);
    body.append(node("h2", {}, "Headers of the answer"), table(["name", "meaning"], rows));
  }
  body.append(...socketParts(api, operation["x-websocket"]));
  body.append(node("h2", {}, "Example"), node("pre", { tabIndex: 0 }, node("code", {}, example(api, method, path, operation))));
  const line = node("summary", {}, node("span", { className: `method ${method}` }, method), node("code", {}, path),
    node("span", { className: "faint" }, operation.summary));
  return node("details", { open: path === "/convert" }, line, body);
}

async function show() {
  const place = document.getElementById("description");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const api = await answer.json();
    place.replaceChildren(`Version ${api.info.version}. `, ...prose(api.info.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        document.getElementById("routes").append(card(api, path, method, operation));
      }
    }
  } catch (error) {
    place.textContent = `The description could not be loaded: ${error.message}`;
  }
}

show();
