// Picks a caller ID for a call, or gives a pick back. Needs Node 18 or later and nothing else.
//
//   node pick.mjs 3 [L-991]                                       group, lead
//   node pick.mjs release 3 01JD8Q4T1RZ6W8M3V5X7K9N2PB-18         the call was not placed
//
// ROTARY_ENGINE_URL and ROTARY_ENGINE_TOKEN are variables of the environment. Prints the pick as JSON; publish the call
// with its `id` (publish_call.mjs). Exit status: 0 picked or released; 3 nothing is eligible, do not dial; 1 an error, do
// not dial either; 2 wrong arguments.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const DEADLINE_MS = 5_000;
const ATTEMPT_MS = 2_000;

/** Nothing is eligible. `retryAfter` is in seconds, undefined if no time is known. */
export class NothingEligible extends Error {
  constructor(message, reasons, retryAfter) {
    super(message);
    this.reasons = reasons;
    this.retryAfter = retryAfter;
  }
}

export class RotaryEngine {
  constructor(url, token) {
    this.url = url.replace(/\/+$/, '');
    this.token = token;
  }

  /** Resolves with the pick, as the engine describes it. Wishes: lead_id, carrier, prefix, exclude. */
  async pick(group, wishes = {}) {
    // One key for all attempts: the pick is made once, however often the request arrives.
    const headers = { 'Idempotency-Key': randomUUID() };
    const path = `/api/caller-id-groups/${group}/picks`;
    const { status, body, retryAfter } = await this.#ask('POST', path, JSON.stringify(wishes), headers);
    if (status === 409) throw new NothingEligible(body.message, body.reasons, retryAfter);
    if (status !== 201 || !body.data?.id) throw failure(status, body);
    return body.data;
  }

  /** Does nothing if the pick was confirmed or has expired. */
  async release(group, pick) {
    const path = `/api/caller-id-groups/${group}/picks/${encodeURIComponent(pick)}`;
    const { status, body } = await this.#ask('DELETE', path);
    if (status !== 204) throw failure(status, body);
  }

  /** Asks until the answer is final or the deadline is near. */
  async #ask(method, path, content, headers) {
    const deadline = Date.now() + DEADLINE_MS;
    for (let delay = 50; ; delay *= 2) {
      const answer = await this.#once(method, path, content, headers);
      const mayChange = [0, 408, 429].includes(answer.status) || answer.status >= 500;
      const wait = delay + 1_000 * (answer.retryAfter ?? 0);
      if (!mayChange || Date.now() + wait >= deadline) return answer;
      await sleep(wait);
    }
  }

  async #once(method, path, content, headers) {
    try {
      const response = await fetch(this.url + path, {
        method,
        body: content,
        headers: { Authorization: `Bearer ${this.token}`, 'Content-Type': 'application/json', ...headers },
        redirect: 'manual',
        signal: AbortSignal.timeout(ATTEMPT_MS),
      });
      const wait = response.headers.get('Retry-After');
      const text = await response.text();
      return { status: response.status, body: object(text), retryAfter: wait ? Number(wait) : undefined };
    } catch (error) {
      return { status: 0, body: { message: error.cause?.message || error.message } };
    }
  }
}

function object(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function failure(status, { message = `status ${status}`, errors }) {
  return new Error(errors ? `${message} ${JSON.stringify(errors)}` : message);
}

async function main([first, ...rest]) {
  const isRelease = first === 'release';
  const [group, name] = isRelease ? rest : [first, ...rest];
  if (!/^[1-9]\d*$/.test(group ?? '') || (isRelease && !name)) {
    console.error('usage: node pick.mjs GROUP [LEAD]\n       node pick.mjs release GROUP PICK');
    return 2;
  }
  const engine = new RotaryEngine(process.env.ROTARY_ENGINE_URL ?? '', process.env.ROTARY_ENGINE_TOKEN ?? '');
  try {
    if (isRelease) await engine.release(group, name);
    else console.log(JSON.stringify(await engine.pick(group, name ? { lead_id: name } : {})));
    return 0;
  } catch (error) {
    if (error instanceof NothingEligible) {
      const when = error.retryAfter === undefined ? '' : ` Try again in ${error.retryAfter} s.`;
      console.error(error.message + when);
      return 3;
    }
    console.error(`no answer to dial with: ${error.message}`);
    return 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = await main(process.argv.slice(2));
}
