// A table of rows that people act on. On a phone each row is a card, and still a row for screen readers.
import { html } from "../../preact.js";
import { Failure, Loading } from "../../components/layout.js";
import { Pager } from "../../components/table.js";
import { t } from "../../i18n.js";

/**
 * columns: [{ key, label, cell: (row) => content, header: names the row, numeric, bare: without a label on a phone, optional:
 * not on a phone }].
 */
export function Rows({ caption, columns, rows, keyOf = (row) => row.id, empty, isOld = false }) {
  return html`<div class=${`table-scroll rows-scroll ${isOld ? "old" : ""}`} tabindex="0" role="region" aria-label=${caption} aria-busy=${isOld ? "true" : undefined}>
    <table class="table rows" role="table">
      <caption class="unseen">${caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(({ key, label, numeric, bare }) => html`<th scope="col" role="columnheader" key=${key} class=${numeric ? "end" : ""}>
            ${bare ? html`<span class="unseen">${label}</span>` : label}
          </th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map((row) => html`<tr role="row" key=${keyOf(row)} data-row=${keyOf(row)}>${columns.map((column) => cell(column, row))}</tr>`)}
        ${!rows.length && html`<tr role="row"><td role="cell" class="none" colspan=${columns.length}>${empty ?? t("table.empty")}</td></tr>`}
      </tbody>
    </table>
  </div>`;
}

function cell({ key, label, cell: content, header, numeric, bare, optional }, row) {
  const name = [numeric && "numeric end", optional && "optional", bare && "acts"].filter(Boolean).join(" ");
  if (header) return html`<th scope="row" role="rowheader" key=${key} class=${name}>${content(row)}</th>`;
  return html`<td role="cell" key=${key} class=${name} data-label=${bare ? undefined : label}>${content(row)}</td>`;
}

/** Whether a list that was read has nothing in it at all: then what there is to say about that has the button to begin with. */
export const isBare = (read, filtered = false) => read.found?.body.total === 0 && !filtered;

/** A list that was read: its rows and pages, or why it is not here. `read` is what useRead returns. */
export function ListPart({ read, onPage, none, filtered, ...table }) {
  const { found, error, isOld, reload } = read;
  if (error) return html`<${Failure} error=${error} onRetry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  if (none && isBare(read, filtered)) return none;
  return html`<${Rows} rows=${found.body.data} isOld=${isOld} empty=${filtered ? t("rows.noMatch") : undefined} ...${table} />
    <${Pager} page=${found.body} onPage=${onPage} />`;
}
