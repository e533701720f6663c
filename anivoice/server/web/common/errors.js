// What can go wrong, by what a person can do about it.

const KINDS = { 401: "key", 404: "missing", 499: "cancelled", 503: "busy", 1013: "busy", 1011: "broken" };

export class AnivoiceError extends Error {
  /** `kind`: "key", "busy", "unreachable", "missing", "refused", "cancelled", "broken" or the page's own. */
  constructor(message, { kind, status = null, retryAfterS = null } = {}) {
    super(message);
    this.name = "AnivoiceError";
    this.kind = kind ?? KINDS[status] ?? (status >= 500 && status < 1000 ? "broken" : "refused");
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** The error of an answer that is none of the expected ones. @param {Response} answer */
export async function errorOfAnswer(answer) {
  const told = await answer.json().catch(() => ({}));
  const retryAfterS = Number(answer.headers.get("Retry-After")) || null;
  return new AnivoiceError(told.error ?? `the server answered ${answer.status}`, { status: answer.status, retryAfterS });
}
