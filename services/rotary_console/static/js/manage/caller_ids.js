// Caller IDs: found, created, changed, rested no longer.
import { html, useState } from "../preact.js";
import { post, remove } from "../api.js";
import { Button, Search, Select } from "../components/controls.js";
import { EmptyState, PageHeader } from "../components/layout.js";
import { confirm } from "../components/overlays.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { CARRIERS } from "../live/arrange.js";
import { href, navigate } from "../router.js";
import { may } from "../session.js";
import { CallerIdDialog } from "./caller_id_form.js";
import { unlessChanged, useActs } from "./kit/change.js";
import { asked, managed, useGroups, useRead, withQuery } from "./kit/data.js";
import { Menu } from "./kit/menu.js";
import { onlyReads, OnOff } from "./kit/parts.js";
import { isBare, ListPart } from "./kit/rows.js";

const FILTERS = ["search", "status", "carrier", "group_id"];
const urlOf = (row) => managed(`/caller-ids/${row.id}`);

export default function CallerIds({ query }) {
  const { search, status, carrier, group_id, page } = query;
  const read = useRead(withQuery(managed("/caller-ids"), { search, status, carrier, group_id, page }));
  const groups = useGroups();
  const [edited, setEdited] = useState(null);
  const [act, problem] = useActs(read.reload);
  const ask = (change) => navigate("/caller-ids", asked(query, change), { replace: true });
  const saved = () => {
    setEdited(null);
    read.reload();
  };
  const create = may("admin") && html`<${Button} kind="primary" icon="plus" onClick=${() => setEdited({})}>${t("callerIds.new")}<//>`;
  const none = html`<${EmptyState} icon="phone" title=${t("callerIds.none")} action=${create}>${t(may("admin") ? "callerIds.none.admin" : "callerIds.none.hint")}<//>`;
  return html`
    <${PageHeader} title=${t("nav.callerIds")} description=${may("admin") ? t("callerIds.about") : onlyReads(may("operator") ? "callerIds.operator" : "callerIds.viewer")}
      actions=${may("admin") && html`<${Button} icon="import" href=${href("/imports")}>${t("nav.imports")}<//>${!isBare(read, FILTERS.some((each) => query[each])) && create}`} />
    ${problem}
    <${Filters} query=${query} groups=${groups} onChange=${ask} />
    <${ListPart} read=${read} none=${none} filtered=${FILTERS.some((each) => query[each])} onPage=${(next) => ask({ page: next })}
      caption=${t("nav.callerIds")} columns=${columns(groups, (row) => html`<${Acts} ...${{ row, act }} onEdit=${() => setEdited(row)} />`)} />
    ${edited && html`<${CallerIdDialog} row=${edited} onClose=${() => setEdited(null)} onSaved=${saved} />`}`;
}

function Filters({ query, groups, onChange }) {
  return html`<div class="toolbar">
    <${Search} label=${t("callerIds.search")} value=${query.search ?? ""} onValue=${(search) => onChange({ search })} maxlength="200" />
    <${Select} label=${t("column.status")} value=${query.status ?? ""} onValue=${(status) => onChange({ status })}
      options=${[["", t("filter.status")], ["active", t("value.active")], ["disabled", t("value.disabled")]]} />
    <${Select} label=${t("column.carrier")} value=${query.carrier ?? ""} onValue=${(carrier) => onChange({ carrier })}
      options=${[["", t("members.allCarriers")], ...CARRIERS.map((each) => [each, t(`carrier.${each}`)])]} />
    <${Select} label=${t("field.group")} value=${query.group_id ?? ""} onValue=${(group_id) => onChange({ group_id })}
      options=${[["", t("filter.group")], ...(groups ?? []).map(({ id, name }) => [String(id), name])]} />
  </div>`;
}

function columns(groups, acts) {
  const names = new Map((groups ?? []).map(({ id, name }) => [id, name]));
  return [
    { key: "number", label: t("column.number"), header: true, cell: (row) => html`<span class="numeric strong">${row.number}</span>${row.display_name && html`<span class="sub">${row.display_name}</span>`}` },
    { key: "status", label: t("column.status"), cell: (row) => html`<${OnOff} status=${row.status} />` },
    { key: "carrier", label: t("column.carrier"), cell: (row) => t(`carrier.${row.carrier}`) },
    { key: "cap", label: t("field.daily_cap"), numeric: true, cell: (row) => html`${number(row.daily_cap)}${limits(row) && html`<span class="sub">${limits(row)}</span>`}` },
    { key: "trunk", label: t("field.trunk_name"), optional: true, cell: (row) => row.trunk_name ?? html`<span class="faint">–</span>` },
    { key: "groups", label: t("nav.groups"), cell: (row) => html`<${GroupLinks} ids=${row.groups} names=${names} />` },
    { key: "acts", label: t("rows.acts"), bare: true, cell: acts },
  ];
}

function limits({ hourly_cap, min_gap_seconds }) {
  const told = [hourly_cap && t("callerIds.hourly", { count: hourly_cap }), min_gap_seconds && t("callerIds.gap", { count: min_gap_seconds })];
  return told.filter(Boolean).join(", ");
}

function GroupLinks({ ids, names }) {
  if (!ids.length) return html`<span class="faint">${t("callerIds.noGroup")}</span>`;
  return html`<span class="links">${ids.map((id) => html`<a key=${id} href=${href(`/groups/${id}`)}>${names.get(id) ?? id}</a>`)}</span>`;
}

function Acts({ row, act, onEdit }) {
  const values = { number: row.number };
  const isOn = row.status === "active";
  const toggle = () => act(() => unlessChanged(urlOf(row), row, (etag) => post(`${urlOf(row)}/${isOn ? "disable" : "enable"}`, undefined, { etag })), t(isOn ? "callerIds.disabled" : "callerIds.enabled", values));
  const disable = async () => {
    if (await confirm({ title: t("callerIds.disable.title", values), body: t("callerIds.disable.body"), action: t("act.disable") })) await toggle();
  };
  const erase = async () => {
    const body = t("callerIds.delete.body", { count: row.groups.length });
    if (!(await confirm({ title: t("callerIds.delete.title", values), body, action: t("act.delete"), danger: true }))) return;
    await act(() => unlessChanged(urlOf(row), row, (etag) => remove(urlOf(row), { etag })), t("callerIds.deleted", values));
  };
  const clear = async () => {
    const answer = await confirm({ title: t("cooldown.clear.title", values), body: t("cooldown.clear.body"), action: t("cooldown.clear"), reason: t("cooldown.clear.reason") });
    if (!answer) return;
    const body = answer.reason ? { reason: answer.reason } : undefined;
    await act(() => post(`${urlOf(row)}/clear-cooldown`, body), t("cooldown.clear.done", values));
  };
  const items = [
    may("operator") && { icon: "cooldown", text: t("cooldown.clear"), onSelect: clear },
    may("operator") && (isOn ? { icon: "disabled", text: t("act.disable"), onSelect: disable } : { icon: "check", text: t("act.enable"), onSelect: toggle }),
    may("operator") && { icon: "audit", text: t("act.changes"), href: href("/audit", { entity: "caller_id", entity_id: row.id }) },
    may("admin") && { icon: "trash", text: t("act.delete"), onSelect: erase, danger: true },
  ];
  return html`<span class="row-acts">
    ${may("admin") && html`<${Button} kind="quiet" icon="edit" label=${t("act.edit.of", { name: row.number })} onClick=${onEdit} />`}
    <${Menu} label=${t("act.more.of", { name: row.number })} items=${items} />
  </span>`;
}
