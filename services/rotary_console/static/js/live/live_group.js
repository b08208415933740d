// One group, followed over its event stream for as long as somebody watches.
import { read } from "../api.js";
import { now } from "../clock.js";
import { Store } from "../store.js";
import { GroupState, OutOfStep } from "./group_state.js";
import { sseBatches } from "./sse.js";

const FIRST_DELAY_MS = 300;
const LONGEST_DELAY_MS = 10_000;
/** The server says something at least every 15 s. */
const SILENCE_MS = 25_000;
/** A stream is replaced before its token expires. */
const RENEW_MS = 45_000;
/** A gap so short is not worth telling. */
const GRACE_MS = 1_500;
/** After so many deltas that did not fit, whole snapshots are asked for: more data, but never a wrong number. */
const MISFITS = 3;

/**
 * `status` is { kind, since, reason }: kind is "connecting" before there is any data, "live", "stale" (what is shown is
 * not current; the server says why), "reconnecting" (no connection), or "ended" (there is no such group for this person
 * now; `reason` is the server's). `since` is the moment up to which the data is complete, in milliseconds.
 *
 * `shown` counts what changed; `state` is the GroupState; `flashes` has the last change of each member: { at, fields }.
 */
export class LiveGroup {
  #controller = new AbortController();
  #current = null;
  #delay = FIRST_DELAY_MS;
  #heardAt = 0;
  #misfits = 0;
  #timers = new Set();
  #wake = () => {};

  constructor(reader, groupId) {
    this.reader = reader;
    this.path = `/api/caller-id-groups/${groupId}/monitor?deltas=1`;
    this.state = new GroupState();
    this.flashes = new Map();
    this.status = new Store({ kind: "connecting", since: null, reason: "" });
    this.shown = new Store(0);
  }

  start() {
    const options = { signal: this.#controller.signal };
    addEventListener("online", () => this.retry(), options);
    document.addEventListener("visibilitychange", () => document.hidden || this.retry(), options);
    this.#run();
  }

  stop() {
    this.#controller.abort();
    this.#current?.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#wake();
  }

  /** Tries again now, if it was waiting. */
  retry() {
    this.#wake();
  }

  get #isOver() {
    return this.#controller.signal.aborted;
  }

  async #run() {
    while (!this.#isOver) {
      let pause = 0;
      try {
        pause = await this.#follow();
      } catch (error) {
        if (this.#isOver) return;
        pause = this.#failed(error);
      }
      if (pause) await this.#sleep(pause);
    }
  }

  /** Follows one connection to its end; returns how long to wait before the next. Raises ApiError. */
  async #follow() {
    const controller = (this.#current = new AbortController());
    const timers = [];
    try {
      const headers = { Accept: "text/event-stream" };
      if (this.state.seq !== null) headers["Last-Event-ID"] = String(this.state.seq);
      const answer = await this.reader.fetch(this.path, { headers, signal: controller.signal, cache: "no-store" });
      if (!answer.ok) await read(answer);
      timers.push(setTimeout(() => controller.abort("renew"), this.reader.expiresAt - Date.now() - RENEW_MS));
      timers.push(setInterval(() => this.#isSilent && controller.abort("silent"), 1000));
      this.#heardAt = Date.now();
      for await (const batch of sseBatches(answer.body)) this.#take(batch);
    } catch (error) {
      const why = controller.signal.reason;
      if (why === "renew") return 0;
      if (error instanceof OutOfStep) this.#stepOut();
      if (!controller.signal.aborted && error.status !== undefined) throw error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      controller.abort("over");
    }
    return this.#lost("");
  }

  #stepOut() {
    this.#misfits++;
    this.state.seq = null; // the next connection begins with a snapshot
    if (this.#misfits >= MISFITS) this.path = this.path.replace("?deltas=1", "");
  }

  get #isSilent() {
    return Date.now() - this.#heardAt > SILENCE_MS;
  }

  /** Takes what arrived together. Facts that are not current are followed by the event that says so: the last one counts. */
  #take(batch) {
    this.#heardAt = Date.now();
    this.#delay = FIRST_DELAY_MS;
    let status = this.status.value;
    let isNew = false;
    for (const { name, data } of batch) {
      if (name === "snapshot" || name === "delta") {
        this.state[name](JSON.parse(data));
        this.#flash();
        status = { kind: "live", since: now(), reason: "" };
        isNew = true;
      } else if (name === "stale") {
        const { since, reason } = JSON.parse(data);
        status = { kind: "stale", since: Date.parse(since), reason };
      } else if (status.kind === "live") {
        status.since = now(); // nothing changed up to now
      }
    }
    this.status.set(status);
    if (isNew) this.shown.set(this.shown.value + 1);
  }

  #flash() {
    const at = performance.now();
    for (const [id, before] of this.state.changes) {
      const after = this.state.members.get(id);
      const fields = before === null ? ["status"] : Object.keys(after).filter((name) => before[name] !== after[name]);
      this.flashes.set(id, { at, fields });
    }
  }

  #failed(error) {
    if (error.status === 403 || error.status === 404) {
      this.status.set({ kind: "ended", since: null, reason: error.message });
      return this.#nextDelay(); // a group that was just made is served in a moment, and a role may be given back
    }
    return this.#lost(error.status ? error.message : "", error.retryAfter);
  }

  /** The connection is gone. Says so unless it is back at once; returns how long to wait. */
  #lost(reason, retryAfter = null) {
    const { kind, since } = this.status.value;
    const lost = { kind: "reconnecting", since: kind === "live" ? now() : since, reason };
    if (kind === "live") this.#later(GRACE_MS, () => this.status.value.kind === "live" && this.#isLost && this.status.set(lost));
    else this.status.set(lost);
    this.#heardAt = 0;
    const delay = this.#nextDelay();
    return retryAfter === null ? delay : Math.min(retryAfter * 1000, LONGEST_DELAY_MS);
  }

  #nextDelay() {
    const delay = this.#delay * (0.75 + Math.random() / 2);
    this.#delay = Math.min(this.#delay * 2, LONGEST_DELAY_MS);
    return delay;
  }

  get #isLost() {
    return this.#heardAt === 0;
  }

  #later(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
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
