// What differs between two versions of a row, in words.
import { html } from "../../preact.js";
import { Time } from "../../components/layout.js";
import { duration } from "../../format.js";
import { has, locale, t } from "../../i18n.js";
import { isSame } from "./draft.js";

const NONE = "–";
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
/** Fields whose values have names, and where those are. */
const CHOICES = { status: ["value", "campaignStatus"], carrier: ["carrier"], rotation_strategy: ["strategy"], dialer_mode: ["mode"], role: ["role"] };
const NESTED = ["policy", "time_window"];

/** [{ key, label, before, after }] for each field that differs; fields of nested rules each by itself. */
export function differences(before, after) {
  const [one, other] = [flat(before), flat(after)];
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys]
    .filter((key) => !isSame(one[key] ?? null, other[key] ?? null))
    .map((key) => ({ key, label: fieldName(key), before: one[key] ?? null, after: other[key] ?? null }));
}

function flat(row) {
  const found = {};
  for (const [key, value] of Object.entries(row ?? {})) {
    if (!NESTED.includes(key) || !value) found[key] = value;
    else for (const [inner, each] of Object.entries(value)) found[`${key}.${inner}`] = each;
  }
  return found;
}

/** A field's name for people; as it is if we have none. */
export function fieldName(key) {
  const last = key.split(".").at(-1);
  return [`field.${key}`, `policy.${last}`, `day.${last}`, `field.${last}`].map((each) => has(each) && t(each)).find(Boolean) || key;
}

/** A value as text. Fields of a policy that end in seconds are durations. */
export function plain(value, key = "") {
  if (typeof value === "number" && /^policy\..*_seconds$/.test(key)) return duration(value);
  if (value === null || value === undefined || value === "") return NONE;
  if (typeof value === "boolean") return t(value ? "value.yes" : "value.no");
  if (typeof value === "number") return exact(value);
  if (Array.isArray(value)) return value.length ? value.map((each) => plain(each)).join(", ") : NONE;
  if (typeof value === "object") return "from" in value ? `${value.from}–${value.to}` : JSON.stringify(value);
  return (CHOICES[key] ?? []).map((part) => `${part}.${value}`).filter(has).map((each) => t(each))[0] ?? value;
}

/** A number with all its digits. */
export const exact = (value) => value.toLocaleString(locale(), { maximumFractionDigits: 10 });

/** A value as content: a moment in the reader's zone, everything else as text. */
export function Value({ value, field }) {
  if (typeof value === "string" && MOMENT.test(value)) return html`<${Time} at=${value} />`;
  const isNone = value === null || value === undefined || value === "";
  return html`<span class=${isNone ? "faint" : ""}>${plain(value, field)}</span>`;
}
