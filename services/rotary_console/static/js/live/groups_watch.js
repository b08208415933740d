// All groups of a customer, looked at again and again.
import { now } from "../clock.js";
import { read } from "../api.js";
import { Store } from "../store.js";

const SHORTEST_MS = 2_000;
const LONGEST_MS = 15_000;
const MS_A_GROUP = 150;
const TOGETHER = 4;
/** Facts older than this are not current. */
const CURRENT_SECONDS = 2;

/**
 * `groups` are those of the API, null before they are known; `monitors` has what is known of each by its id;
 * `status` is as that of a LiveGroup.
 */
export class GroupsWatch {
  #controller = new AbortController();
  #wake = () => {};

  constructor(reader) {
    this.reader = reader;
    this.shown = new Store({ groups: null, monitors: new Map() });
    this.status = new Store({ kind: "connecting", since: null, reason: "" });
  }

  start() {
    this.#run();
  }

  stop() {
    this.#controller.abort();
    this.#wake();
  }

  retry() {
    this.#wake();
  }

  async #run() {
    while (!this.#controller.signal.aborted) {
      let pause = SHORTEST_MS;
      try {
        pause = await this.#look();
      } catch (error) {
        if (this.#controller.signal.aborted) return;
        pause = this.#failed(error);
      }
      await this.#sleep(pause);
    }
  }

  async #look() {
    const { signal } = this.#controller;
    const groups = await this.reader.get("/api/caller-id-groups", { signal });
    const monitors = new Map();
    if (!this.shown.value.groups) this.shown.set({ groups, monitors });
    const waiting = groups.map(({ id }) => id);
    let lag = 0;
    const next = async () => {
      while (waiting.length) {
        const id = waiting.shift();
        const found = await this.#monitor(id, signal);
        if (found === null) continue;
        monitors.set(id, found.data);
        lag = Math.max(lag, found.lag);
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, next));
    this.shown.set({ groups, monitors });
    const since = now() - lag * 1000;
    const reason = "The counts are behind the event broker";
    this.status.set(lag < CURRENT_SECONDS ? { kind: "live", since, reason: "" } : { kind: "stale", since, reason });
    return Math.min(Math.max(groups.length * MS_A_GROUP, SHORTEST_MS), LONGEST_MS);
  }

  /** A group's monitor; null if the group has gone since the list was read. */
  async #monitor(id, signal) {
    // The browser keeps the body with its ETag: what did not change is not sent again.
    const answer = await this.reader.fetch(`/api/caller-id-groups/${id}/monitor`, { signal, cache: "no-cache" });
    if (answer.status === 404) return null;
    const { data, headers } = await read(answer);
    return { data, lag: Number(headers.get("X-Projection-Lag")) || 0 };
  }

  #failed(error) {
    const { since } = this.status.value;
    const kind = error.status === 503 ? "stale" : "reconnecting";
    this.status.set({ kind, since, reason: error.status ? error.message : "" });
    return Math.min(Math.max((error.retryAfter ?? 0) * 1000, SHORTEST_MS), LONGEST_MS);
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
