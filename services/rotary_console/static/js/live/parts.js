// What several pages of the monitor show: statuses, bars, scores, and how fresh the data is.
import { html } from "../preact.js";
import { tick } from "../clock.js";
import { Icon } from "../components/icons.js";
import { Badge, Notice, Time } from "../components/layout.js";
import { clock, countdown, duration, moment, number, utc } from "../format.js";
import { has, t } from "../i18n.js";
import { useStore } from "../store.js";
import { STATUSES } from "./arrange.js";
import { level } from "./health.js";

/** How many members have each status, from a monitor's counts. */
export function countsOf({ total_members: total, eligible_now: eligible, in_cooldown: cooldown, disabled }) {
  return { eligible, cooldown, quota_exceeded: total - eligible - cooldown - disabled, disabled };
}

export function StatusBadge({ status }) {
  return html`<${Badge} kind=${status} icon=${status}>${t(`status.${status}`)}<//>`;
}

/** The shares of a group as one bar; each status has a pattern of its own. */
export function StatusBar({ counts }) {
  const said = STATUSES.map((status) => `${t(`status.${status}`)}: ${number(counts[status])}`).join(", ");
  return html`<div class="status-bar" role="img" aria-label=${said}>
    ${STATUSES.filter((status) => counts[status]).map((status) => html`<span key=${status} class=${status} style=${{ flexGrow: counts[status] }}></span>`)}
  </div>`;
}

/** The same as numbers with their names. */
export function StatusLegend({ counts }) {
  return html`<ul class="status-legend">
    ${STATUSES.map(
      (status) => html`<li key=${status} class=${`${status} ${counts[status] ? "" : "zero"}`}>
        <span class="swatch" aria-hidden="true"></span>
        <span>${t(`status.${status}`)}</span><b class="numeric">${number(counts[status])}</b>
      </li>`,
    )}
  </ul>`;
}

/** A score with its step as filled fifths. */
export function Health({ score }) {
  const step = level(score);
  return html`<span class=${`health step-${step}`}>
    <span class="fifths" aria-hidden="true">${[1, 2, 3, 4, 5].map((each) => html`<i key=${each} class=${each <= step ? "full" : ""}></i>`)}</span>
    <span class="numeric">${score}</span>
  </span>`;
}

/** Calls of today against the cap. */
export function Calls({ calls, cap }) {
  const share = Math.min(1, calls / cap);
  const kind = calls >= cap ? "over" : share >= 0.85 ? "near" : "";
  return html`<span class=${`calls ${kind}`}>
    <span class="track" aria-hidden="true"><span style=${{ width: `${share * 100}%` }}></span></span>
    <span class="numeric">${number(calls)}<span class="faint"> / ${number(cap)}</span></span>
  </span>`;
}

/** The time that is left until a moment, ticking. */
export function Countdown({ at }) {
  const left = (Date.parse(at) - useStore(tick)) / 1000;
  return html`<time class="numeric" datetime=${at} title=${`${moment(at)} · ${utc(at)}`}>${countdown(left)}</time>`;
}

/** "14:32 · in 12:05"; a dash when nothing rests. */
export function NextBack({ at }) {
  const current = useStore(tick);
  if (at === null) return html`<span class="faint">${t("monitor.nextBack.none")}</span>`;
  return html`<span class="next-back"><${Time} at=${at} text=${clock(at, current)} />
    <span class="numeric">${t("monitor.in", { time: countdown((at - current) / 1000) })}</span></span>`;
}

/** Whether what is shown is current, as a mark that is always in sight; changes of it are announced. */
export function Freshness({ status }) {
  const { kind, since } = status;
  const age = since === null ? 0 : Math.max(0, Math.round((useStore(tick) - since) / 1000));
  const old = t("fresh.old", { age: duration(age) });
  const text = { live: t("fresh.live"), connecting: t("fresh.connecting"), stale: old, ended: t("fresh.ended") }[kind];
  const lost = since === null ? t("fresh.reconnecting") : `${t("fresh.reconnecting")} · ${old}`;
  return html`<span class=${`freshness ${kind}`} data-freshness=${kind}>
      <span class="dot" aria-hidden="true"></span><span class="numeric">${text ?? lost}</span>
    </span>
    <span class="unseen" role="status">${t(`fresh.said.${kind}`)}</span>`;
}

/** Why what is shown is not current; nothing while it is. */
export function StaleNotice({ status, onRetry }) {
  const { kind, since, reason } = status;
  if (kind !== "stale" && kind !== "reconnecting") return null;
  const upTo = since === null ? null : html`<${Time} at=${since} />`;
  return html`<${Notice} kind="warning" action=${kind === "reconnecting" && onRetry}>
    <p><strong>${t(`fresh.why.${kind}`)}</strong> ${reason && `${reasonText(reason)} `}${upTo && html`${t("fresh.upTo")} ${upTo}.`}</p>
  <//>`;
}

/** What the server says, in the reader's language where we know the sentence. */
export function reasonText(reason) {
  const key = `reason.${reason}`;
  const text = has(key) ? t(key) : reason;
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
