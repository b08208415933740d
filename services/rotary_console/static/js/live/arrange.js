// Which members a table shows, and in which order.
import { compareTexts } from "../format.js";

export const STATUSES = ["eligible", "cooldown", "quota_exceeded", "disabled"];
export const CARRIERS = ["viettel", "mobifone", "vinaphone", "vietnamobile", "landline", "other"];

const byText = (field) => (a, b) => compareTexts(a[field], b[field]);
const byNumber = (value) => (a, b) => value(a) - value(b);
const until = (member) => (member.cooldown_until === null ? Infinity : Date.parse(member.cooldown_until));

const ORDERS = {
  number: byText("number"),
  carrier: byNumber((member) => CARRIERS.indexOf(member.carrier)),
  status: byNumber((member) => STATUSES.indexOf(member.status)),
  health: byNumber((member) => member.health_score),
  calls: byNumber((member) => member.calls_today / member.daily_cap),
  cooldown: (a, b) => (until(a) === until(b) ? 0 : until(a) - until(b)),
};

/**
 * The members that fit, sorted; members that are equal stay in the order of their ids. `statuses` is a set, empty for all;
 * `carrier` and `search` are empty for all.
 */
export function arrange(members, { statuses, carrier, search, sort }) {
  const wanted = digits(search);
  const fits = (member) =>
    (!statuses.size || statuses.has(member.status)) &&
    (!carrier || member.carrier === carrier) &&
    (!search.trim() || (wanted && digits(member.number).includes(wanted)));
  const shown = [...members].filter(fits);
  if (sort) {
    const order = ORDERS[sort.key];
    shown.sort(sort.descending ? (a, b) => order(b, a) : order);
    if (sort.key === "cooldown") shown.sort((a, b) => (a.cooldown_until === null) - (b.cooldown_until === null));
  }
  return shown;
}

/** A number as it is compared: +84 90 and 090 are the same. */
function digits(text) {
  return text.replace(/[^\d+]/g, "").replace(/^(\+84|84(?=\d{9}$)|0)/, "").replace(/\+/g, "");
}
