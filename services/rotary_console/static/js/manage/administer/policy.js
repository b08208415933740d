// The fields of a policy: what each means, in which unit it is typed, and what follows from them.
const HOUR = 3600;
const DAY = 86_400;

/** Each field: its default and kind. A duration is in seconds; `most` is the largest value. */
export const PARTS = [
  ["cooldown", [
    ["cooldown_user_report_seconds", { kind: "duration", value: HOUR }],
    ["cooldown_spam_label_seconds", { kind: "duration", value: 6 * HOUR }],
    ["cooldown_blocked_seconds", { kind: "duration", value: 24 * HOUR }],
    ["cooldown_window_seconds", { kind: "duration", value: 7 * DAY }],
    ["cooldown_cap_seconds", { kind: "duration", value: 7 * DAY }],
  ]],
  ["health", [
    ["severity_blocked", { kind: "factor", value: 2 }],
    ["severity_spam_label", { kind: "factor", value: 1 }],
    ["severity_user_report", { kind: "factor", value: 1 }],
    ["severity_rejected", { kind: "factor", value: 0.25 }],
    ["health_half_life_seconds", { kind: "duration", value: 72 * HOUR }],
    ["volume_calls", { kind: "count", value: 100, least: 1, most: 1_000_000 }],
    ["volume_weight", { kind: "factor", value: 0.5 }],
    ["volume_excess_limit", { kind: "factor", value: 2 }],
  ]],
  ["engine", [
    ["pick_ttl_seconds", { kind: "count", value: 30, least: 1, most: 60 }],
    ["sticky_days", { kind: "count", value: 90, least: 1, most: 3650 }],
  ]],
  ["limits", [["unknown_caller_ids_per_day", { kind: "count", value: 1000, least: 0, most: 1_000_000 }]]],
];
export const FIELDS = new Map(PARTS.flatMap(([, fields]) => fields));

export const UNITS = [["day", DAY], ["hour", HOUR], ["minute", 60], ["second", 1]];

/** Seconds as { amount, unit }, in the largest unit that fits. */
export function split(seconds) {
  const [unit, size] = UNITS.find(([, each]) => seconds % each === 0);
  return { amount: String(seconds / size), unit };
}

/** What is typed for a policy: of each field "" for the default; a duration as { amount, unit }. */
export function typedPolicy(policy) {
  const typed = { warm_up: (policy?.warm_up ?? []).map(([day, cap]) => [String(day), String(cap)]) };
  for (const [name, { kind, value }] of FIELDS) {
    const given = policy?.[name];
    if (kind === "duration") typed[name] = given === undefined ? { amount: "", unit: split(value).unit } : split(given);
    else typed[name] = given === undefined ? "" : String(given);
  }
  return typed;
}

/** The policy as the API has it: null if every field has its default. */
export function writtenPolicy(typed) {
  const policy = {};
  for (const [name, { kind }] of FIELDS) {
    const given = kind === "duration" ? typed[name].amount : typed[name];
    if (given !== "") policy[name] = Number(given) * (kind === "duration" ? sizeOf(typed[name].unit) : 1);
  }
  if (typed.warm_up.length) policy.warm_up = typed.warm_up.map(([day, cap]) => [Number(day), Number(cap)]);
  return Object.keys(policy).length ? policy : null;
}

const sizeOf = (unit) => UNITS.find(([name]) => name === unit)[1];

/** Every field's value, the default where there is none. */
export function effective(policy) {
  return Object.fromEntries([...FIELDS].map(([name, { value }]) => [name, policy?.[name] ?? value]));
}

/** How long the first flags of a kind in the window make a number rest, in seconds. */
export function rests(policy, kind, count) {
  return Array.from({ length: count }, (_, index) => Math.min(policy.cooldown_cap_seconds, policy[`cooldown_${kind}_seconds`] * 2 ** index));
}

/** The health after so many fresh flags of a kind, and again after some seconds. */
export function healthAfter(policy, kind, count, seconds = 0) {
  const halvings = count * policy[`severity_${kind}`] * 2 ** (-seconds / policy.health_half_life_seconds);
  return Math.floor(100 * 2 ** -halvings + 0.5);
}
