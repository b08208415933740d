// Who changed what, and how.
import { html } from "../../preact.js";
import { Button, Search, Select } from "../../components/controls.js";
import { Icon } from "../../components/icons.js";
import { Badge, EmptyState, Failure, Loading, PageHeader } from "../../components/layout.js";
import { Pager } from "../../components/table.js";
import { day } from "../../format.js";
import { t } from "../../i18n.js";
import { href, navigate } from "../../router.js";
import { asked, managed, useGroups, useRead, withQuery } from "../kit/data.js";
import { differences, Value } from "../kit/difference.js";
import { When } from "../kit/parts.js";

const ENTITIES = ["caller_id", "group", "member", "campaign", "token", "webhook", "customer", "cooldown_clear", "user_role", "dialer"];
const PAGES = { group: "/caller-id-groups/", member: "/caller-id-groups/", campaign: "/campaigns/", webhook: "/webhooks/" };
const KINDS = { create: ["eligible", "plus"], update: ["neutral", "edit"], delete: ["danger", "trash"], truncate: ["danger", "trash"] };
const HIDDEN = ["customer_id", "id", "created_at", "updated_at", "version"];
const SHORT = 3;

export default function Audit({ query }) {
  const { entity, entity_id, actor, page } = query;
  const read = useRead(withQuery(managed("/audit-log"), { entity, entity_id: /^[1-9]\d*$/.test(entity_id ?? "") ? entity_id : "", actor, page, per_page: 50 }));
  const groups = useGroups();
  const ask = (change) => navigate("/audit", asked(query, change), { replace: true });
  const isFiltered = entity || entity_id || actor;
  return html`
    <${PageHeader} title=${t("nav.audit")} description=${t("audit.about")} />
    <div class="toolbar">
      <${Select} label=${t("audit.entity")} value=${entity ?? ""} onValue=${(value) => ask({ entity: value })}
        options=${[["", t("audit.entities")], ...ENTITIES.map((each) => [each, t(`entity.${each}`)])]} />
      <${Search} label=${t("audit.id")} value=${entity_id ?? ""} inputmode="numeric" onValue=${(value) => ask({ entity_id: value.replace(/\D/g, "") })} />
      <${Search} label=${t("audit.actor")} value=${actor ?? ""} maxlength="200" onValue=${(value) => ask({ actor: value })} />
      ${isFiltered && html`<${Button} kind="quiet" icon="close" onClick=${() => navigate("/audit", {}, { replace: true })}>${t("filter.clear")}<//>`}
    </div>
    ${read.error && html`<${Failure} error=${read.error} onRetry=${read.reload} />`}
    ${!read.found && !read.error && html`<${Loading} />`}
    ${read.found && !read.error && html`<${Days} rows=${read.found.body.data} isFiltered=${isFiltered} groups=${new Map((groups ?? []).map(({ id, name }) => [id, name]))} onActor=${(who) => ask({ actor: who })} />
      <${Pager} page=${read.found.body} onPage=${(next) => ask({ page: next })} />`}`;
}

/** The changes under the days on which they were made, in the reader's zone. */
function Days({ rows, groups, isFiltered, onActor }) {
  if (!rows.length) return html`<${EmptyState} icon="audit" title=${t(isFiltered ? "rows.noMatch" : "audit.none")}>${isFiltered && t("audit.actor.hint")}<//>`;
  const days = Map.groupBy ? Map.groupBy(rows, (row) => localDay(row.at)) : grouped(rows);
  return html`${[...days].map(([date, some]) => html`<section key=${date} class="audit-day">
    <h2>${day(date, { weekday: "long", day: "numeric", month: "long", year: "numeric" })}</h2>
    <ul class="entries">${some.map((row) => html`<${Entry} key=${row.id} row=${row} groups=${groups} onActor=${onActor} />`)}</ul>
  </section>`)}`;
}

function grouped(rows) {
  const days = new Map();
  for (const row of rows) days.set(localDay(row.at), [...(days.get(localDay(row.at)) ?? []), row]);
  return days;
}

function localDay(at) {
  const moment = new Date(at);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

function Entry({ row, groups, onActor }) {
  const changes = differences(row.before, row.after).filter(({ key }) => !HIDDEN.includes(key));
  const [kind, icon] = KINDS[row.action];
  const isUpdate = row.action === "update";
  return html`<li><details class="entry" data-entry=${row.id}>
    <summary>
      <${Badge} kind=${kind} icon=${icon}>${t(`action.${row.action}`)}<//>
      <span class="grow"><span class="what">${t(`entity.${row.entity}`)} <b>${nameOf(row, groups)}</b></span>
        ${isUpdate && html`<span class="inline-changes">${changes.slice(0, SHORT).map(({ key, label, before, after }) => html`<span key=${key}><span class="soft">${label}</span> <del><${Value} value=${before} field=${key} /></del> → <ins><${Value} value=${after} field=${key} /></ins></span>`)}
          ${changes.length > SHORT && html`<span class="faint">${t("audit.more", { count: changes.length - SHORT })}</span>`}</span>`}
        ${row.entity === "cooldown_clear" && row.after?.reason && html`<span class="inline-changes soft">${row.after.reason}</span>`}
      </span>
      <span class="who-when"><span>${row.actor}</span><${When} at=${row.at} /></span><${Icon} name="down" size=${12} />
    </summary>
    <div class="entry-body">
      <${Difference} row=${row} changes=${isUpdate ? changes : differences(row.before, row.after)} />
      <p class="cluster faint">
        ${link(row)}
        <button type="button" class="link" onClick=${() => onActor(row.actor)}>${t("audit.by", { actor: row.actor })}</button>
        <span>${t("audit.database", { user: row.database_user })}</span>
      </p>
    </div>
  </details></li>`;
}

function nameOf({ before, after, entity, entity_id: id }, groups) {
  const row = after ?? before ?? {};
  if (entity === "member") return `#${row.caller_id_id ?? ""} → ${groups.get(id) ?? id}`;
  return row.number ?? row.name ?? row.dialer ?? row.url ?? (row.caller_id_id ? `#${row.caller_id_id}` : id === null ? "" : `#${id}`);
}

function link({ entity, entity_id: id, action }) {
  if (!(entity in PAGES) || id === null || action === "delete") return null;
  return html`<a href=${href(`${PAGES[entity]}${id}`)}>${t("audit.open")}</a>`;
}

function Difference({ row, changes }) {
  if (!changes.length) return html`<p class="soft">${t("audit.same")}</p>`;
  const [hasBefore, hasAfter] = [row.before !== null, row.after !== null];
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("audit.difference")}>
    <table class="table versus">
      <thead><tr><th scope="col">${t("conflict.field")}</th>${hasBefore && html`<th scope="col">${t("audit.before")}</th>`}${hasAfter && html`<th scope="col">${t("audit.after")}</th>`}</tr></thead>
      <tbody>${changes.map(({ key, label, before, after }) => html`<tr key=${key}><th scope="row" title=${key}>${label}</th>${hasBefore && html`<td><${Value} value=${before} field=${key} /></td>`}${hasAfter && html`<td><${Value} value=${after} field=${key} /></td>`}</tr>`)}</tbody>
    </table>
  </div>`;
}
