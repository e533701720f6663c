/**
 * anivoice for JavaScript: voices, conversions and live streams. No dependencies; for browsers and workers; live streams also in Node 22.
 *
 *     import { AnivoiceClient } from "http://127.0.0.1:8000/client.js";
 *     const client = new AnivoiceClient("http://127.0.0.1:8000");
 *     await client.voices();                                        // ["alice", "bob"]
 *     const { blob, headers } = await client.convert(file, { model_name: "alice", pitch_change: 12 });
 *
 *     const stream = await client.live({ model_name: "alice", sample_rate: 48000 }, { onAudio: play });
 *     stream.send(samples);                                         // Float32Array, -1 to 1, as they are spoken
 *     stream.set({ pitch_change: 3 });                              // from the next block on
 *     await stream.flush();                                         // all that was sent has come back
 *     stream.close();
 *
 * Parameters have the names of the HTTP interface, see `GET /docs`. A page of another origin needs to be allowed:
 * `anivoice serve --allowed-origins https://your.page`.
 *
 * Everything that goes wrong is an `AnivoiceError`: `message` is the server's own sentence, `kind` says what to do:
 * "key" (ask for it), "busy" (try again after `retryAfterS`), "unreachable", "missing", "refused", "cancelled", "broken".
 */

import { LiveStream } from "./web/common/live-stream.js";
import { AnivoiceError, errorOfAnswer } from "./web/common/errors.js";
import { readEvents } from "./web/common/event-stream.js";

export { AnivoiceError, LiveStream };

export class AnivoiceClient {
  /**
   * @param {string} baseUrl address of the server
   * @param {{key?: string | null}} options `key` where the server has one
   */
  constructor(baseUrl, { key = null } = {}) {
    this.baseUrl = baseUrl.replace(/\/$/, "");
    this.key = key;
  }

  /** Names of the voices. @returns {Promise<string[]>} */
  async voices() {
    return (await this._json("/models")).models;
  }

  /** One voice with all that is known of it (docs/api.md). */
  voice(name) {
    return this._json(voicePath(name));
  }

  /** What the server is: `{ready, voice, pitch_method, device, problem}`. Answers also while it warms up. */
  async readiness() {
    return (await this._fetch("/readyz", { accepted: [503] })).json();
  }

  /**
   * Converts a recording.
   * @param {Blob} file
   * @param {object} parameters those of `POST /convert`
   * @param {{onProgress?: (progress: {state: string, share: number | null}) => void, signal?: AbortSignal}} options
   * @returns {Promise<{blob: Blob, headers: Headers, fileName: string}>}
   */
  async convert(file, parameters = {}, { onProgress = () => {}, signal } = {}) {
    const request = new Upload(this, "POST", "/convert", { Accept: "text/event-stream" }, signal);
    request.onProgress = (share) => onProgress({ state: "uploading", share });
    const done = request.send(formOf({ ...parameters, audio_file: file }));
    done.catch(() => {});
    for await (const { name, data } of readEvents(request, done)) {
      if (name === "progress") {
        onProgress({ state: data.state, share: data.total_s ? data.done_s / data.total_s : null });
      } else if (name === "failed") {
        throw new AnivoiceError(data.error, { status: data.status });
      } else if (name === "done") {
        return this._fetchResult(data, signal);
      }
    }
    const blob = await done;
    if (blob instanceof Blob) return { blob, headers: request.answerHeaders, fileName: request.fileName };
    throw new AnivoiceError("the server ended the conversion without a result", { kind: "broken" });
  }

  async _fetchResult({ url, file_name: fileName }, signal) {
    const answer = await this._fetch(url, { signal });
    return { blob: await answer.blob(), headers: answer.headers, fileName };
  }

  /** A bundled sentence in this voice. @returns {Promise<Blob>} */
  async preview(name, parameters = {}, signal) {
    const query = new URLSearchParams(parameters);
    return (await this._fetch(`${voicePath(name)}/preview?${query}`, { signal })).blob();
  }

  /**
   * Brings voices: `.pth`, `.safetensors`, `.index` or `.zip`.
   * @returns {Promise<{voices: object[], left_out: {file: string, reason: string}[]}>}
   */
  async upload(files, { name, replace, onProgress = () => {}, signal } = {}) {
    const request = new Upload(this, "POST", "/models", {}, signal);
    request.onProgress = onProgress;
    const answer = await request.send(formOf({ name, replace, file: files }));
    return JSON.parse(answer);
  }

  /** `changes`: `name`, `defaults`. @returns the changed voice */
  change(name, changes) {
    return this._json(voicePath(name), { method: "PATCH", body: JSON.stringify(changes), type: "application/json" });
  }

  async remove(name) {
    await this._fetch(voicePath(name), { method: "DELETE" });
  }

  /** @returns {Promise<Blob>} */
  async picture(name) {
    return (await this._fetch(`${voicePath(name)}/picture`)).blob();
  }

  /** PNG, JPEG or WebP; null removes it. */
  async setPicture(name, picture) {
    const method = picture ? "PUT" : "DELETE";
    await this._fetch(`${voicePath(name)}/picture`, { method, body: picture, type: picture?.type });
  }

  /**
   * A live stream, when the server is ready for it. `handlers`: `onAudio(Float32Array)`, `onEvent(event)`,
   * `onState("open" | "reconnecting")`, `onError(AnivoiceError)` (the stream goes on), `onEnd(AnivoiceError | null)`.
   * @returns {Promise<LiveStream>}
   */
  async live(parameters, handlers = {}) {
    const wanted = { sample_rate: 48000, ...parameters, format: "pcm_s16le", events: true };
    const body = JSON.stringify(wanted);
    const session = await this._json("/convert/stream", { method: "POST", body, type: "application/json" });
    const url = this.baseUrl.replace(/^http/, "ws") + session.websocket_url;
    const stream = new LiveStream(url, handlers);
    await stream.ready;
    return stream;
  }

  /** Headers of every request. */
  headers(type) {
    const key = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    return type ? { ...key, "Content-Type": type } : key;
  }

  async _json(path, options) {
    return (await this._fetch(path, options)).json();
  }

  async _fetch(path, { method = "GET", body, type, signal, accepted = [] } = {}) {
    let answer;
    try {
      answer = await fetch(this.baseUrl + path, { method, body, signal, headers: this.headers(type) });
    } catch (error) {
      if (signal?.aborted) throw new AnivoiceError("it was cancelled", { kind: "cancelled" });
      throw new AnivoiceError(`the server does not answer (${error.message})`, { kind: "unreachable" });
    }
    if (!answer.ok && !accepted.includes(answer.status)) throw await errorOfAnswer(answer);
    return answer;
  }
}

/** An upload that tells its progress, which `fetch` does not; `text` grows as the answer comes. */
class Upload {
  constructor(client, method, path, headers, signal) {
    const request = (this._request = new XMLHttpRequest());
    request.open(method, client.baseUrl + path);
    for (const [name, value] of Object.entries({ ...client.headers(), ...headers })) request.setRequestHeader(name, value);
    signal?.addEventListener("abort", () => request.abort());
    this.onProgress = () => {};
    this.onText = () => {};
    request.upload.onprogress = ({ loaded, total }) => this.onProgress(total ? loaded / total : null);
    request.onprogress = () => this.onText();
    request.onreadystatechange = () => this._settleType();
  }

  /** Of a server that tells no progress the answer is the audio itself. */
  _settleType() {
    const request = this._request;
    const type = request.readyState === XMLHttpRequest.HEADERS_RECEIVED && request.getResponseHeader("Content-Type");
    if (type && request.status === 200 && type.startsWith("audio/")) request.responseType = "blob";
  }

  get text() {
    return this._request.status === 200 && !this._request.responseType ? this._request.responseText : "";
  }

  get answerHeaders() {
    const lines = this._request.getAllResponseHeaders().trim().split("\r\n");
    return new Headers(lines.map((line) => line.split(": ", 2)));
  }

  get fileName() {
    const disposition = this._request.getResponseHeader("Content-Disposition") ?? "";
    const extended = /filename\*=UTF-8''([^;]+)/.exec(disposition);
    return extended ? decodeURIComponent(extended[1]) : (/filename="([^"]+)"/.exec(disposition)?.[1] ?? "converted");
  }

  /** The whole answer. */
  send(form) {
    const request = this._request;
    return new Promise((resolve, reject) => {
      const broken = (kind, text) => () => reject(new AnivoiceError(text, { kind }));
      request.onerror = broken("unreachable", "the connection to the server broke during the upload");
      request.onabort = broken("cancelled", "it was cancelled");
      request.onload = () => {
        if (request.status < 300) resolve(request.response);
        else errorOfAnswer(new Response(request.responseText || "{}", { status: request.status })).then(reject);
      };
      request.send(form);
    });
  }
}

function voicePath(name) {
  return `/models/${encodeURIComponent(name)}`;
}

/** Files last: the server checks the other fields before it reads them. */
function formOf(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) form.append(name, one);
  }
  return form;
}
