// Why a number has the health it has, and when it is well again.
import { html, useEffect, useState } from "../preact.js";
import { management, post } from "../api.js";
import { now } from "../clock.js";
import { Button } from "../components/controls.js";
import { Time } from "../components/layout.js";
import { confirm, Dialog, toast } from "../components/overlays.js";
import { clock, day, duration, number } from "../format.js";
import { t } from "../i18n.js";
import { href } from "../router.js";
import { customer, may, readApi } from "../session.js";
import { useStore } from "../store.js";
import { faded, later, level, penalty, POLICY, volume } from "./health.js";
import { Calls, Health, StatusBadge } from "./parts.js";

const AHEAD = [[24, "day1"], [72, "day3"], [168, "day7"]];
const KINDS = ["blocked", "spam_label", "user_report", "rejected"];
/** Less than this is rounding: a score has no more digits. */
const NOTHING = 0.02;
const ROWS = 5;

/** `id` of the member of a LiveGroup that is explained; it goes on living meanwhile. */
export function Explain({ live, groupId, id, onClose }) {
  useStore(live.shown);
  const days = useDays(groupId, id);
  const member = live.state.members.get(id);
  useEffect(() => {
    if (!member) onClose(); // it left the group
  }, [!member]);
  if (!member) return null;
  const isResting = member.status === "cooldown";
  const footer = html`
    ${isResting && may("operator") && html`<${Button} icon="check" onClick=${() => clear(member)}>${t("cooldown.clear")}<//>`}
    <${Button} icon="history" href=${href(`/groups/${groupId}/history/${id}`)}>${t("history.title")}<//>`;
  return html`<${Dialog} title=${member.number} onClose=${onClose} footer=${footer}>
    <dl class="facts">
      <div><dt>${t("column.status")}</dt><dd><${StatusBadge} status=${member.status} /></dd></div>
      <div><dt>${t("column.health")}</dt><dd><${Health} score=${member.health_score} /> ${t(`health.level.${level(member.health_score)}`)}</dd></div>
      <div><dt>${t("column.calls")}</dt><dd><${Calls} calls=${member.calls_today} cap=${member.daily_cap} /></dd></div>
      ${isResting && html`<div><dt>${t("explain.back")}</dt><dd><${Time} at=${member.cooldown_until} text=${clock(member.cooldown_until)} /></dd></div>`}
    </dl>
    <${Reasons} member=${member} days=${days} />
    <${Ahead} member=${member} />
    <p class="hint">${t("explain.formula", { half: duration(POLICY.halfLifeHours * 3600) })}</p>
  <//>`;
}

/** The penalties that are known, and the rest. */
function Reasons({ member, days }) {
  const total = penalty(member.health_score);
  if (total === 0) return html`<section><h3>${t("explain.why", { score: member.health_score })}</h3><p class="soft">${t("explain.well")}</p></section>`;
  const byVolume = volume(member.calls_today);
  const rows = [...flagRows(days), ...(byVolume > 0 ? [{ key: "volume", text: t("explain.volume", { calls: member.calls_today }), left: byVolume }] : [])];
  const known = rows.reduce((sum, { left }) => sum + left, 0);
  const rest = Number.isFinite(total) ? total - known : 0;
  if (rest > NOTHING) rows.unshift({ key: "rest", text: t(days === null ? "explain.unknown" : "explain.today"), left: rest });
  return html`<section>
    <h3>${t("explain.why", { score: member.health_score })}</h3>
    <p class="soft">${Number.isFinite(total) ? t("explain.halved", { count: Math.round(total * 100) / 100 }) : t("explain.burnt")}</p>
    <table class="reasons">
      <caption class="unseen">${t("explain.why", { score: member.health_score })}</caption>
      <thead><tr><th scope="col">${t("explain.cause")}</th><th scope="col" class="end">${t("explain.left")}</th></tr></thead>
      <tbody>${rows.map(({ key, text, left }) => html`<tr key=${key}><td>${text}</td><td class="end numeric">${number(Math.round(left * 100) / 100)}</td></tr>`)}</tbody>
    </table>
  </section>`;
}

/** What is left of the flags of past days. The history has days, not moments: a flag counts from its day's noon. */
function flagRows(days) {
  const rows = [];
  for (const { date, flags } of days ?? []) {
    const hours = (now() - Date.parse(`${date}T12:00:00Z`)) / 3_600_000;
    for (const kind of KINDS) {
      const left = flags[kind] * faded(kind, hours);
      if (left > NOTHING) rows.push({ key: date + kind, text: `${day(date)} · ${t(`flag.${kind}`)} × ${number(flags[kind])}`, left });
    }
  }
  return fewest(rows.reverse());
}

/** The newest that matter, and the others as one. */
function fewest(rows) {
  if (rows.length <= ROWS) return rows;
  const large = new Set([...rows].sort((a, b) => b.left - a.left).slice(0, ROWS - 1));
  const rest = rows.filter((row) => !large.has(row));
  const left = rest.reduce((sum, row) => sum + row.left, 0);
  return [...rows.filter((row) => large.has(row)), { key: "older", text: t("explain.others", { count: rest.length }), left }];
}

function Ahead({ member }) {
  if (member.health_score >= 95) return null;
  const byVolume = volume(member.calls_today);
  return html`<section>
    <h3>${t("explain.ahead")}</h3>
    <ul class="ahead">
      ${AHEAD.map(([hours, key]) => html`<li key=${key}><span class="faint">${t(`explain.${key}`)}</span><${Health} score=${later(member.health_score, byVolume, hours)} /></li>`)}
    </ul>
  </section>`;
}

/** Its history by day; null while, or if, there is none. */
function useDays(groupId, id) {
  const [days, setDays] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    readApi()
      .get(`/api/caller-id-groups/${groupId}/history?caller_id_id=${id}`, { signal: controller.signal })
      .then((data) => setDays(data.days), () => {}); // the formula is explained without it
    return () => controller.abort();
  }, [groupId, id]);
  return days;
}

async function clear({ caller_id_id: id, number: text }) {
  const answer = await confirm({
    title: t("cooldown.clear.title", { number: text }),
    body: t("cooldown.clear.body"),
    action: t("cooldown.clear"),
    reason: t("cooldown.clear.reason"),
  });
  if (!answer) return;
  try {
    await post(management(customer.value.id, `/caller-ids/${id}/clear-cooldown`), answer.reason ? { reason: answer.reason } : undefined);
    toast(t("cooldown.clear.done", { number: text }));
  } catch (error) {
    toast(error.message, "error");
  }
}
