// Picks a caller ID for a call and prints it, or gives one back. Needs nothing but Node 18 or newer.
//
//   ROTARY_ENGINE_URL=https://engine.example.com ROTARY_TOKEN=rot_… node pick.mjs 3 L-991       group, lead
//   … node pick.mjs 3 --release 01JD8Q4T1RZ6W8M3V5X7K9N2PB-18                                  the call was not placed
//
// Prints `<pick id> <caller ID's id> <number>`. Exit status: 0 picked or released, 3 nothing is eligible (do not dial),
// 1 error. Publish the call with `pick_id`: publish_call.mjs.

import { randomUUID } from 'node:crypto';

const DEADLINE_MS = 5_000;
const { ROTARY_ENGINE_URL: url, ROTARY_TOKEN: token } = process.env;

/** Repeats while the engine is unavailable, with the same key: the request may have arrived, and must not pick twice. */
async function send(method, path, body) {
  const deadline = Date.now() + DEADLINE_MS;
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  if (body) headers['Idempotency-Key'] = randomUUID();
  for (;;) {
    let failure;
    try {
      const options = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(2_000) };
      const response = await fetch(url.replace(/\/$/, '') + path, options);
      const text = await response.text();
      if (response.status < 500 && response.status !== 429) {
        return { status: response.status, retryAfter: response.headers.get('Retry-After'), body: text && JSON.parse(text) };
      }
      failure = `the engine answered ${response.status}: ${text}`;
    } catch (error) {
      failure = `the engine does not answer: ${error.cause?.code ?? error.message}`;
    }
    if (Date.now() > deadline) throw new Error(failure);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export async function pick(group, lead) {
  return send('POST', `/api/caller-id-groups/${group}/picks`, lead ? { lead_id: lead } : {});
}

export async function release(group, pickId) {
  return send('DELETE', `/api/caller-id-groups/${group}/picks/${encodeURIComponent(pickId)}`);
}

const [group, lead, pickId] = process.argv.slice(2);
if (!/^\d+$/.test(group ?? '')) {
  console.error('usage: node pick.mjs GROUP [LEAD]\n       node pick.mjs GROUP --release PICK');
  process.exit(2);
}
try {
  if (lead === '--release') {
    await release(group, pickId);
  } else {
    const { status, retryAfter, body } = await pick(group, lead);
    if (status === 201) {
      console.log(`${body.data.id} ${body.data.caller_id_id} ${body.data.number}`);
    } else {
      const why = `${body.message} ${JSON.stringify(body.reasons ?? body.errors ?? {})}`;
      console.error(retryAfter ? `${why} Retry after ${retryAfter} s.` : why);
      process.exitCode = status === 409 ? 3 : 1;
    }
  }
} catch (error) {
  console.error(`no pick: ${error.message}`);
  process.exitCode = 1;
}
