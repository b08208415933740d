// A table of up to some hundred rows. The live monitor has its own, which holds thousands.
import { html } from "../preact.js";
import { t } from "../i18n.js";
import { number } from "../format.js";
import { Button } from "./controls.js";
import { Icon } from "./icons.js";

/**
 * columns: [{ key, label, cell: (row) => content, numeric, sortable, header: the cell that names its row }]. `caption`
 * is read, not shown. `sort` is { key, descending }, `onSort` gets the next one. Each row's `id` is its key unless
 * `keyOf` says otherwise.
 */
export function Table({ caption, columns, rows, sort, onSort, keyOf = (row) => row.id, empty }) {
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${caption}>
    <table class="table">
      <caption class="unseen">${caption}</caption>
      <thead>
        <tr>${columns.map((column) => html`<${Heading} key=${column.key} ...${{ column, sort, onSort }} />`)}</tr>
      </thead>
      <tbody>
        ${rows.map((row) => html`<tr key=${keyOf(row)}>${columns.map((column) => cell(column, row))}</tr>`)}
        ${!rows.length && html`<tr><td class="none" colspan=${columns.length}>${empty ?? t("table.empty")}</td></tr>`}
      </tbody>
    </table>
  </div>`;
}

function cell({ key, cell: content, numeric, header }, row) {
  const name = numeric ? "numeric end" : "";
  if (header) return html`<th scope="row" key=${key} class=${name}>${content(row)}</th>`;
  return html`<td key=${key} class=${name}>${content(row)}</td>`;
}

/** A column's heading; pressing a sortable one sorts by it, and again the other way round. */
export function Heading({ column, sort, onSort, class: extra = "" }) {
  const { key, label, numeric, sortable } = column;
  const name = `${numeric ? "end" : ""} ${extra}`;
  if (!sortable) return html`<th scope="col" class=${name}>${label}</th>`;
  const isSorted = sort?.key === key;
  const direction = isSorted ? (sort.descending ? "descending" : "ascending") : undefined;
  const next = () => onSort({ key, descending: isSorted ? !sort.descending : Boolean(column.descendsFirst) });
  return html`<th scope="col" class=${name} aria-sort=${direction}>
    <button type="button" class="sort" onClick=${next}>
      ${label}${isSorted && html`<${Icon} name=${sort.descending ? "down" : "up"} size=${12} />`}
    </button>
  </th>`;
}

/** Which part of a list is shown, as the management API tells it: { current_page, last_page, per_page, total }. */
export function Pager({ page, onPage }) {
  const { current_page: current, last_page: last, per_page: size, total } = page;
  if (total === 0) return null;
  const from = (current - 1) * size + 1;
  const to = Math.min(current * size, total);
  return html`<nav class="pager" aria-label=${t("pager.label")}>
    <p class="soft numeric">${t("pager.range", { from: number(from), to: number(to), total: number(total) })}</p>
    ${last > 1 &&
    html`<div class="cluster">
      <${Button} icon="left" label=${t("pager.previous")} disabled=${current <= 1} onClick=${() => onPage(current - 1)} />
      <${Button} icon="right" label=${t("pager.next")} disabled=${current >= last} onClick=${() => onPage(current + 1)} />
    </div>`}
  </nav>`;
}
