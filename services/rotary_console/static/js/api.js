// Requests to the console's server, and with a read token to the query service.
import { learnTime } from "./clock.js";
import { t } from "./i18n.js";

const CHANGING = { "X-Rotary-Console": "1" };
const RENEW_MS = 60_000;

/**
 * A request that failed. `status` is 0 if there was no answer. `message` is for people; `errors` has, of a 422, the
 * messages of each field; `retryAfter` is in seconds.
 */
export class ApiError extends Error {
  constructor(message, { status = 0, errors = {}, retryAfter = null, requestId = null, body = null } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, errors, retryAfter, requestId, body });
  }

  /** Somebody else changed it first: If-Match named an older version. */
  get isLostUpdate() {
    return this.status === 412;
  }

  /** The messages of one field, as one text. */
  field(name) {
    return [this.errors[name] ?? []].flat().join(" ");
  }
}

const ended = new Set();

/** Calls `listener` when the server says that nobody is signed in. */
export function onSignedOut(listener) {
  ended.add(listener);
}

/**
 * An answer of the console's server: { data, etag, status, headers, body }. `data` is the `data` of its body, `body` all
 * of it (a list has `total` and pages). Raises ApiError.
 *
 * `body` is sent as JSON; a Blob, File or string as it is. `etag` becomes If-Match. A POST with `once` (a key) is done
 * once, however often it is sent. `early` is the same request, begun before.
 */
export async function request(method, path, { body, etag, once, headers = {}, signal, quiet = false, early = null } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (method !== "GET") Object.assign(sent, CHANGING);
  if (etag) sent["If-Match"] = etag;
  if (once) sent["Idempotency-Key"] = once;
  const isRaw = body instanceof Blob || typeof body === "string";
  if (body !== undefined && !isRaw) sent["Content-Type"] = "application/json";
  const payload = body === undefined || isRaw ? body : JSON.stringify(body);
  const options = { method, headers: sent, body: payload, signal, credentials: "same-origin" };
  const answer = (await early?.catch(() => null)) ?? (await send(path, options));
  learnTime(answer.headers.get("Date"));
  if (answer.status === 401 && !quiet) for (const listener of ended) listener();
  return read(answer);
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { ...options, body });
export const put = (path, body, options) => request("PUT", path, { ...options, body });
export const remove = (path, options) => request("DELETE", path, options);

/** A path of one customer's management API: management(7, "/caller-ids"). */
export const management = (customer, path) => `/api/customers/${customer}/management${path}`;
/** A path of one customer's campaigns. */
export const telesales = (customer, path) => `/api/customers/${customer}/telesales${path}`;
/** Another path of one customer: of("dialers"). */
export const ofCustomer = (customer, path) => `/api/customers/${customer}${path}`;

/** An answer that is read as it comes, for instance the progress of an import: yields the events { name, data }. */
export async function* events(path, { signal } = {}) {
  const { sseEvents } = await import("./live/sse.js");
  const answer = await send(path, { headers: { Accept: "text/event-stream" }, signal, credentials: "same-origin" });
  if (!answer.ok) await read(answer);
  yield* sseEvents(answer.body);
}

/** Reads the query service as one customer. Its token is made when it is first needed, and anew before it expires. */
export class ReadApi {
  #token = null;
  #pending = null;

  constructor(customer, base) {
    this.customer = customer;
    this.base = base;
  }

  /** When the token expires, in milliseconds; 0 before there is one. */
  get expiresAt() {
    return this.#token?.expiresAt ?? 0;
  }

  /** The `data` of an answer. Raises ApiError. */
  async get(path, { signal } = {}) {
    const answer = await this.fetch(path, { signal });
    return (await read(answer)).data;
  }

  /** The answer itself, whatever its status. A token that is not known any more is replaced once. */
  async fetch(path, { headers = {}, signal, cache } = {}) {
    for (const isLast of [false, true]) {
      const token = await this.#fresh();
      const authorized = { ...headers, Authorization: `Bearer ${token.text}` };
      const answer = await send(this.base + path, { headers: authorized, signal, cache, credentials: "omit", mode: "cors" });
      if (answer.status !== 401 || isLast) return answer;
      if (this.#token === token) this.#token = null;
    }
    throw new Error("unreachable");
  }

  async #fresh() {
    if (this.#token && this.#token.expiresAt - Date.now() > RENEW_MS) return this.#token;
    this.#pending ??= this.#renew().finally(() => (this.#pending = null));
    return this.#pending;
  }

  /** Asks for a token now: it will be needed. */
  warm() {
    this.#fresh().catch(() => {}); // whoever needs it is told
  }

  async #renew() {
    const { data } = await post(ofCustomer(this.customer, "/read-token"), undefined, { early: earlyToken(this.customer) });
    // By this browser's clock: a token lasts ten minutes from now, whatever the server's clock says.
    const lasts = Math.min(Math.max(Date.parse(data.expires_at) - Date.now(), 2 * RENEW_MS), 10 * RENEW_MS);
    this.#token = { text: data.token, expiresAt: Date.now() + lasts };
    return this.#token;
  }
}

/** The token that the page asked for at its very beginning, once. */
function earlyToken(customer) {
  const { rotaryEarly: early = {} } = globalThis;
  if (!early.token || early.customer !== String(customer)) return null;
  const { token } = early;
  early.token = null;
  return token.then((answer) => (answer.ok ? answer : null));
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(t("error.unreachable"));
  }
}

/** The contents of an answer. Raises ApiError for a failure. */
export async function read(answer) {
  const body = await json(answer);
  const { status, headers } = answer;
  if (answer.ok) return { data: body?.data ?? null, body, status, headers, etag: headers.get("ETag") };
  const retryAfter = Number(headers.get("Retry-After")) || null;
  const message = body?.message ?? t("error.status", { status });
  throw new ApiError(message, { status, errors: body?.errors, retryAfter, requestId: headers.get("X-Request-Id"), body });
}

async function json(answer) {
  const text = await answer.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // a proxy's page
  }
}
