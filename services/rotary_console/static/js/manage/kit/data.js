// Reading lists and rows of the customer that is shown.
import { get, management, ofCustomer, telesales } from "../../api.js";
import { useEffect, useState } from "../../preact.js";
import { customer } from "../../session.js";

/** Pages of a list are at most this long. */
export const MOST = 200;
const AT_ONCE = 4;
const TYPING_MS = 150;

export const managed = (path) => management(customer.value.id, path);
export const campaigns = (path = "") => telesales(customer.value.id, `/campaigns${path}`);
export const own = (path) => ofCustomer(customer.value.id, path);

/** A query with the values that are given. */
export function withQuery(path, query) {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return text ? `${path}?${text}` : path;
}

/** `query` with a change; any change but of the page leads to the first one. */
export function asked(query, change) {
  return "page" in change ? { ...query, ...change } : { ...query, page: undefined, ...change };
}

/**
 * What a GET answers: { found: { data, body, etag }, error, reload }. While another URL is on its way, what was found before
 * stays; `isOld` says so. Nothing is read without a URL.
 */
export function useRead(url) {
  const [state, setState] = useState({ found: null, error: null, url: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!url) return undefined;
    const controller = new AbortController();
    const { signal } = controller;
    const read = () =>
      get(url, { signal }).then(
        (found) => setState({ found, error: null, url }),
        (error) => signal.aborted || setState((before) => ({ ...before, error, url })),
      );
    const timer = setTimeout(read, state.found && state.url !== url ? TYPING_MS : 0);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [url, attempt]);
  return { ...state, isOld: state.url !== url, reload: () => setAttempt((count) => count + 1) };
}

/** All rows of a list, page by page; `onProgress` gets (rows, total). Raises ApiError. */
export async function readAll(path, { signal, onProgress } = {}) {
  const page = async (number) => (await get(withQuery(path, { per_page: MOST, page: number }), { signal })).body;
  const first = await page(1);
  const rows = [first.data];
  const rest = Array.from({ length: first.last_page - 1 }, (_, index) => index + 2);
  let count = first.data.length;
  await inTurns(rest, async (number) => {
    const { data } = await page(number);
    rows[number - 1] = data;
    count += data.length;
    onProgress?.(count, first.total);
  });
  return rows.flat();
}

/** Does something with each of `items`, a few at once. */
export async function inTurns(items, work) {
  const waiting = [...items];
  const worker = async () => {
    while (waiting.length) await work(waiting.shift());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** The groups of the customer, by id, for names and choices; empty until they are here. */
export function useGroups() {
  const [groups, setGroups] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    readAll(managed("/caller-id-groups"), { signal: controller.signal }).then(setGroups, () => {});
    return () => controller.abort();
  }, []);
  return groups;
}

/** A key under which a request is done once, however often it is sent. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
