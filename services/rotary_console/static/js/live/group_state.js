// A group as its stream tells it: whole snapshots, or what changed since the last event.
import { crc32 } from "./crc32.js";

const COUNTS = ["group_name", "total_members", "eligible_now", "in_cooldown", "disabled"];

/** What was received does not follow from what is here: only a new snapshot helps. */
export class OutOfStep extends Error {}

/**
 * The members of one group. `version` changes with every event that changed something; `changes` has, for each member
 * that the last event changed, what the member was before (null for a new one).
 */
export class GroupState {
  constructor() {
    this.version = 0;
    this.members = new Map();
    this.changes = new Map();
    this.counts = null;
    this.seq = null;
    this.checksum = 0;
    this.sums = new Map();
  }

  /** Takes a `snapshot` event's data, with or without a sequence number. */
  snapshot({ data, seq = null, checksum = null }) {
    const before = this.members;
    this.members = new Map(data.members.map((member) => [member.caller_id_id, member]));
    this.changes = this.version ? differences(before, this.members) : new Map();
    for (const [id, member] of this.members) {
      const old = before.get(id);
      if (old && !this.changes.has(id)) this.members.set(id, old); // the same object: nothing is drawn again
      else this.members.set(id, member);
    }
    this.#count(data);
    this.seq = seq;
    this.sums.clear();
    this.checksum = 0;
    if (checksum !== null) {
      for (const member of this.members.values()) this.#add(member);
      this.#check(checksum);
    }
    this.version++;
  }

  /** Takes a `delta` event's data. Raises OutOfStep if it does not continue from here. */
  delta({ seq, from, checksum, members, removed, ...counts }) {
    if (this.seq === null || from !== this.seq) throw new OutOfStep(`at ${this.seq}, not ${from}`);
    this.changes = new Map();
    for (const id of removed) this.#remove(id);
    const isNew = members.some((member) => !this.members.has(member.caller_id_id));
    for (const member of members) this.#replace(member);
    if (isNew) this.members = new Map([...this.members].sort(([a], [b]) => a - b));
    this.#count(counts);
    this.#check(checksum);
    this.seq = seq;
    if (members.length || removed.length) this.version++;
  }

  #remove(id) {
    this.checksum ^= this.sums.get(id) ?? 0;
    this.sums.delete(id);
    this.members.delete(id);
  }

  #replace(member) {
    const id = member.caller_id_id;
    this.changes.set(id, this.members.get(id) ?? null);
    this.checksum ^= this.sums.get(id) ?? 0;
    this.members.set(id, member);
    this.#add(member);
  }

  #add(member) {
    const sum = crc32(JSON.stringify(member));
    this.sums.set(member.caller_id_id, sum);
    this.checksum ^= sum;
  }

  #check(checksum) {
    if (this.checksum >>> 0 !== checksum) throw new OutOfStep("the checksum differs");
  }

  #count(told) {
    const counts = Object.fromEntries(COUNTS.map((name) => [name, told[name]]));
    counts.over_quota = counts.total_members - counts.eligible_now - counts.in_cooldown - counts.disabled;
    this.counts = counts;
  }
}

function differences(before, after) {
  const changed = new Map();
  for (const [id, member] of after) {
    const old = before.get(id) ?? null;
    if (old === null || !same(old, member)) changed.set(id, old);
  }
  return changed;
}

const FIELDS = ["number", "carrier", "status", "health_score", "calls_today", "daily_cap", "cooldown_until"];

/** Whether two members read alike. */
export function same(a, b) {
  return FIELDS.every((name) => a[name] === b[name]);
}

/** The first moment at which a resting number comes back, in milliseconds; null if none rests. */
export function nextBack(members) {
  let first = null;
  for (const { status, cooldown_until: until } of members) {
    if (status !== "cooldown") continue;
    const at = Date.parse(until);
    if (first === null || at < first) first = at;
  }
  return first;
}
