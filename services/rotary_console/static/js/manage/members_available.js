// Caller IDs that are not members: found on the server, page by page.
import { html, useState } from "../preact.js";
import { Button, Search, Select } from "../components/controls.js";
import { Card, Failure, Loading } from "../components/layout.js";
import { Pager } from "../components/table.js";
import { t } from "../i18n.js";
import { CARRIERS } from "../live/arrange.js";
import { managed, useRead, withQuery } from "./kit/data.js";
import { OnOff } from "./kit/parts.js";
import { drags, useDrop } from "./members.js";

const PAGE = 100;

export function Available({ present, change }) {
  const [query, setQuery] = useState({ search: "", carrier: "", page: 1 });
  const read = useRead(withQuery(managed("/caller-ids"), { ...query, per_page: PAGE }));
  const [isOver, drop] = useDrop("available", (member) => change.remove(member.caller_id_id));
  const ask = (changed) => setQuery({ ...query, page: 1, ...changed });
  const inside = new Set(present.map(({ caller_id_id: id }) => id));
  const rows = (read.found?.body.data ?? []).map((row) => ({ caller_id_id: row.id, ...row }));
  const outside = rows.filter(({ id }) => !inside.has(id));
  const addAll = html`<${Button} icon="plus" disabled=${!outside.length} onClick=${() => change.add(outside)}>${t("members.addAll", { count: outside.length })}<//>`;
  return html`<${Card} class=${`side ${isOver ? "over" : ""}`} title=${t("members.available")} description=${t("members.available.hint")} actions=${addAll}>
    <div class="side-body" ...${drop}>
      <div class="toolbar">
        <${Search} label=${t("callerIds.search")} value=${query.search} onValue=${(search) => ask({ search })} />
        <${Select} label=${t("column.carrier")} value=${query.carrier} onValue=${(carrier) => ask({ carrier })}
          options=${[["", t("members.allCarriers")], ...CARRIERS.map((each) => [each, t(`carrier.${each}`)])]} />
      </div>
      ${read.error && html`<${Failure} error=${read.error} onRetry=${read.reload} />`}
      ${!read.found && !read.error && html`<${Loading} />`}
      ${read.found &&
      html`<ul class=${`member-list ${read.isOld ? "old" : ""}`} aria-label=${t("members.available")}>
          ${outside.map((row) => html`<${Candidate} key=${row.id} row=${row} onAdd=${() => change.add([row])} />`)}
          ${!outside.length && html`<li class="drop-hint soft">${t(rows.length ? "members.allIn" : "rows.noMatch")}</li>`}
        </ul>
        ${rows.length > outside.length && outside.length > 0 && html`<p class="hint">${t("members.someIn", { count: rows.length - outside.length })}</p>`}
        <${Pager} page=${read.found.body} onPage=${(page) => ask({ page })} />`}
    </div>
  <//>`;
}

function Candidate({ row, onAdd }) {
  return html`<li class="member" data-candidate=${row.id} ...${drags(row, "available")}>
    <span><span class="grip" aria-hidden="true"></span><span class="numeric strong">${row.number}</span>
      <span class="sub">${[row.display_name, t(`carrier.${row.carrier}`)].filter(Boolean).join(" · ")}</span></span>
    ${row.status === "disabled" && html`<${OnOff} status=${row.status} />`}
    <${Button} icon="plus" onClick=${onAdd} aria-label=${t("members.add.of", { number: row.number })}>${t("act.add")}<//>
  </li>`;
}
