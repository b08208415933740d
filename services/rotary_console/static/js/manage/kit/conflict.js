// A lost update: both versions side by side, and which one to go on with.
import { html } from "../../preact.js";
import { Button } from "../../components/controls.js";
import { Badge } from "../../components/layout.js";
import { Dialog } from "../../components/overlays.js";
import { t } from "../../i18n.js";
import { isSame } from "./draft.js";

/** `fields`: [[name, label, show], …]; `show` turns what is typed into what is read, and may be left out. */
export function Conflict({ form, fields }) {
  const { theirs } = form.conflict;
  const rows = fields.map((each) => compare(each, form, theirs)).filter((each) => each.isMine || each.isTheirs);
  return html`<${ConflictDialog} onKeep=${form.keepMine} onTake=${form.takeTheirs} onClose=${form.leaveConflict} isBusy=${form.isBusy}>
    <${SideBySide} rows=${rows} />
  <//>`;
}

function compare([name, label, show = (value) => value], { base, value }, theirs) {
  const isMine = !isSame(value[name], base[name]);
  const isTheirs = !isSame(theirs[name], base[name]);
  return { key: name, label, isMine, isTheirs, mine: show(value[name]), theirs: show(theirs[name]) };
}

export function ConflictDialog({ onKeep, onTake, onClose, isBusy, children }) {
  const footer = html`<${Button} onClick=${onClose}>${t("conflict.back")}<//>
    <${Button} onClick=${onTake}>${t("conflict.take")}<//>
    <${Button} kind="primary" busy=${isBusy} onClick=${onKeep}>${t("conflict.keep")}<//>`;
  return html`<${Dialog} title=${t("conflict.title")} onClose=${onClose} footer=${footer} wide=${true}>
    <p class="soft">${t("conflict.body")}</p>
    ${children}
    <p class="hint">${t("conflict.hint")}</p>
  <//>`;
}

/** rows: [{ key, label, mine, theirs, isMine, isTheirs }]: what differs, and who changed it. */
export function SideBySide({ rows }) {
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("conflict.table")}>
    <table class="table versus">
      <thead><tr><th scope="col">${t("conflict.field")}</th><th scope="col">${t("conflict.mine")}</th><th scope="col">${t("conflict.theirs")}</th></tr></thead>
      <tbody>
        ${rows.map(
          ({ key, label, mine, theirs, isMine, isTheirs }) => html`<tr key=${key}>
            <th scope="row">${label}</th>
            <${Version} text=${mine} isChanged=${isMine} /><${Version} text=${theirs} isChanged=${isTheirs} />
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function Version({ text, isChanged }) {
  const isEmpty = text === "" || text === null || text === undefined;
  return html`<td class=${isChanged ? "changed" : ""}>
    ${isEmpty ? html`<span class="faint">–</span>` : text} ${isChanged && html`<${Badge}>${t("conflict.changed")}<//>`}
  </td>`;
}
