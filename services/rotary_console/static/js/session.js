// Who is signed in, and which customer they look at.
import { get, onSignedOut, ReadApi, remove } from "./api.js";
import { preferredLanguage, setLanguage } from "./i18n.js";
import { route } from "./router.js";
import { memory, Store } from "./store.js";

const RANKS = { viewer: 1, operator: 2, admin: 3 };

/** undefined while it is not known, null when nobody is signed in, else what GET /api/session tells. */
export const session = new Store(undefined);
/** The customer that is shown: { id, name, timezone, role }; null for somebody who has none. */
export const customer = new Store(null);

let reader = null;

/** Asks the server who is signed in. */
export async function loadSession() {
  try {
    await open((await get("/api/session", { quiet: true, early: earlySession() })).data);
  } catch (error) {
    if (error.status !== 401) throw error;
    session.set(null);
  }
}

/** What the page asked at its very beginning, once. */
function earlySession() {
  const { rotaryEarly: early = {} } = globalThis;
  const { session: asked = null } = early;
  early.session = null;
  return asked;
}

/** Goes on as the person whose session this is. */
export async function open(found) {
  await setLanguage(found.user.language ?? preferredLanguage());
  session.set(found);
  choose(route.value.query.customer ?? memory.get("customer"));
}

/** Looks at another customer of this person's. */
export function choose(id) {
  const { customers } = session.value;
  const chosen = customers.find((each) => String(each.id) === String(id)) ?? customers[0] ?? null;
  if (chosen) memory.set("customer", String(chosen.id));
  customer.set(chosen);
  if (chosen) readApi().warm();
}

export async function signOut() {
  await remove("/api/session");
  session.set(null);
}

/** Whether the person may, with their customer's role, do what `role` may. */
export function may(role) {
  return RANKS[customer.value?.role] >= RANKS[role];
}

/** Reads the query service as the customer that is shown. */
export function readApi() {
  const { id } = customer.value;
  if (reader?.customer !== id || reader.base !== session.value.query_url) reader = new ReadApi(id, session.value.query_url);
  return reader;
}

session.watch((found) => {
  if (!found) reader = null; // its token was this person's
});

onSignedOut(() => {
  if (session.value) session.set(null);
});

// A link can name the customer: #/groups/3?customer=7
route.watch(({ query }) => {
  if (session.value && query.customer && String(customer.value?.id) !== query.customer) choose(query.customer);
});
