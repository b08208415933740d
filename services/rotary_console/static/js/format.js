// Numbers and times as people read them: in their language and zone, UTC when they hover.
import { locale } from "./i18n.js";

const formats = new Map();

function format(kind, options) {
  const key = `${locale()} ${kind} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new Intl[kind](locale(), options));
  return formats.get(key);
}

export function number(value) {
  return format("NumberFormat", { maximumFractionDigits: 1 }).format(value);
}

/** A share, 0 to 1, as per cent. */
export function percent(share) {
  return format("NumberFormat", { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** 14:05, or 26 Nov 14:05 when it is another day. */
export function clock(moment, now = Date.now()) {
  const date = new Date(moment);
  const isToday = date.toDateString() === new Date(now).toDateString();
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return format("DateTimeFormat", isToday ? time : { ...time, day: "numeric", month: "short" }).format(date);
}

/** Date and time to the second. */
export function moment(value) {
  return format("DateTimeFormat", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }).format(new Date(value));
}

/** A calendar day, "2026-11-25", without any zone. */
export function day(text, options = { day: "numeric", month: "short" }) {
  return format("DateTimeFormat", { ...options, timeZone: "UTC" }).format(new Date(`${text}T00:00:00Z`));
}

/** The same moment in UTC, for whoever hovers: 2026-11-25 07:05:00 UTC. */
export function utc(value) {
  return `${new Date(value).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** 45 s as 0:45, 3 661 s as 1:01:01, and from a day on 2 d 3 h. */
export function countdown(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  if (left >= 86_400) return duration(left);
  const pad = (value) => String(value).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

/** Its two largest units: 2 d 3 h, 4 h 10 min, 35 s. */
export function duration(seconds) {
  const units = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return unit(0, "second");
  const [name, size] = units[first];
  const whole = Math.floor(seconds / size);
  const [next, part] = units[first + 1] ?? [];
  const rest = next && first < 2 ? Math.floor((seconds % size) / part) : 0;
  return rest ? `${unit(whole, name)} ${unit(rest, next)}` : unit(whole, name);
}

function unit(value, name) {
  return format("NumberFormat", { style: "unit", unit: name, unitDisplay: name === "day" ? "long" : "short" }).format(value);
}

/** Ordered as people order texts: "Line 9" before "Line 10". */
export function compareTexts(a, b) {
  return format("Collator", { numeric: true, sensitivity: "base" }).compare(a, b);
}

/** The next midnight of a time zone after a moment, in milliseconds. */
export function nextMidnight(zone, now) {
  const clockThere = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const passed = (at) => {
    const [hours, minutes, seconds] = clockThere.format(at).split(":").map(Number);
    return ((hours * 60 + minutes) * 60 + seconds) * 1000;
  };
  const second = Math.floor(now / 1000) * 1000;
  const day = 24 * 3_600_000;
  // To the middle of the next day, and back to its beginning. On a day of 23 or 25 hours that misses by an hour.
  const middle = second - passed(second) + 1.5 * day;
  const near = middle - passed(middle);
  const missed = passed(near);
  return missed > day / 2 ? near + day - missed : near - missed;
}
