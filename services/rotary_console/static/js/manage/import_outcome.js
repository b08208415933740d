// What an import does: its progress, its mistakes by line, and its changes.
import { html, useState } from "../preact.js";
import { events } from "../api.js";
import { Badge, Notice } from "../components/layout.js";
import { number, percent } from "../format.js";
import { has, t } from "../i18n.js";
import { fieldName } from "./kit/difference.js";
import { managed, useRead, withQuery } from "./kit/data.js";
import { ListPart } from "./kit/rows.js";

const KINDS = { queued: "neutral", running: "cooldown", succeeded: "eligible", failed: "danger" };
const ICONS = { running: "cooldown", succeeded: "check", failed: "warning" };

export const statusBadge = ({ status }) => html`<${Badge} kind=${KINDS[status]} icon=${ICONS[status]}>${t(`imports.status.${status}`)}<//>`;

/** Follows an import to its end; `onTold` gets it whenever it has changed. Raises ApiError. */
export async function watchImport(id, onTold, signal) {
  for await (const { name, data } of events(managed(`/imports/${id}`), { signal })) {
    if (name) onTold(JSON.parse(data));
    if (name === "finished") return;
  }
}

/** `told` is the import as it is now. */
export function Outcome({ told }) {
  const { status, dry_run: isDry, changes, errors, error_count: count } = told;
  return html`<div class="stack outcome">
    ${(status === "queued" || status === "running") && html`<${Progress} told=${told} />`}
    ${status === "succeeded" && html`<${Notice}><p>${t(isDry ? "imports.wouldChange" : "imports.changed")} ${statusBadge(told)}</p><//>`}
    ${status === "failed" && html`<${Notice} kind="error"><p>${t("imports.failed", { count })}</p><//>`}
    ${changes.length > 0 && html`<ul class="import-counts">
      ${changes.map(({ action, what, count: each }) => html`<li key=${action + what} class=${action}><b class="numeric">${number(each)}</b> ${thing(what, each)} <span class="soft">${t(`imports.action.${action}`)}</span></li>`)}
    </ul>`}
    ${errors.length > 0 && html`<${Mistakes} errors=${errors} count=${count} />`}
    ${status === "succeeded" && changes.length > 0 && html`<${ChangeList} id=${told.id} />`}
  </div>`;
}

const thing = (what, count = 1) => (has(`imports.what.${what}`) ? t(`imports.what.${what}`, { count }) : what);

function Progress({ told }) {
  const { rows_done: done, rows_total: total, status } = told;
  const share = total ? done / total : 0;
  return html`<div class="progress-line">
    <progress max="1" value=${status === "running" && total ? share : undefined} aria-label=${t("imports.progress")}></progress>
    <p class="soft numeric" role="status">${total ? t("imports.done", { done, total, share: percent(share) }) : t(`imports.status.${status}`)}</p>
  </div>`;
}

function Mistakes({ errors, count }) {
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("imports.errors")}>
    <table class="table mistakes">
      <caption class="unseen">${t("imports.errors")}</caption>
      <thead><tr><th scope="col" class="end">${t("imports.line")}</th><th scope="col">${t("conflict.field")}</th><th scope="col">${t("imports.problem")}</th></tr></thead>
      <tbody>${errors.map(({ line, field, message }, index) => html`<tr key=${index}><td class="numeric end">${line ?? "–"}</td><td><code>${field}</code></td><td>${message}</td></tr>`)}</tbody>
    </table>
    ${count > errors.length && html`<p class="hint more-hint">${t("imports.moreErrors", { count: count - errors.length })}</p>`}
  </div>`;
}

function ChangeList({ id }) {
  const [page, setPage] = useState(1);
  const read = useRead(withQuery(managed(`/imports/${id}/changes`), { page, per_page: 25 }));
  const columns = [
    { key: "action", label: t("imports.action"), cell: ({ action }) => html`<span class=${`verb ${action}`}>${t(`imports.action.${action}`)}</span>` },
    { key: "what", label: t("imports.what"), cell: ({ what }) => thing(what) },
    { key: "name", label: t("field.name"), header: true, cell: ({ name }) => html`<span class="numeric">${name}</span>` },
    { key: "fields", label: t("imports.fields"), cell: ({ fields }) => fields.map(fieldName).join(", ") || html`<span class="faint">–</span>` },
  ];
  return html`<${ListPart} read=${read} caption=${t("imports.changes")} columns=${columns} onPage=${setPage} keyOf=${(row) => `${row.action} ${row.what} ${row.name}`} />`;
}
