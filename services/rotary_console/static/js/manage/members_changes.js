// How two lists of members differ, as a question before saving and side by side after a lost update.
import { html } from "../preact.js";
import { Button } from "../components/controls.js";
import { Failure } from "../components/layout.js";
import { Dialog } from "../components/overlays.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { ConflictDialog, SideBySide } from "./kit/conflict.js";

const SHOWN = 100;

/** { added, removed, reweighted }: members; those reweighted with what they weighed, as `was`. */
export function changesOf(before, after) {
  const old = new Map(before.map((each) => [each.caller_id_id, each]));
  const present = new Set(after.map(({ caller_id_id: id }) => id));
  return {
    added: after.filter(({ caller_id_id: id }) => !old.has(id)),
    removed: before.filter(({ caller_id_id: id }) => !present.has(id)),
    reweighted: after
      .filter(({ caller_id_id: id, weight }) => old.has(id) && old.get(id).weight !== weight)
      .map((each) => ({ ...each, was: old.get(each.caller_id_id).weight })),
  };
}

/** The difference, before it is saved. */
export function Changes({ group, changes, isBusy, error, onSave, onClose }) {
  const footer = html`<${Button} onClick=${onClose}>${t("dialog.cancel")}<//><${Button} kind="primary" busy=${isBusy} onClick=${onSave}>${t("form.save")}<//>`;
  return html`<${Dialog} title=${t("members.review.title", { name: group.name })} onClose=${onClose} footer=${footer}>
    ${error && html`<${Failure} error=${error} />`}
    ${error?.status === 0 && html`<p class="hint">${t("form.nothingLost")}</p>`}
    <${Part} kind="plus" title=${t("members.added", { count: changes.added.length })} members=${changes.added} note=${(each) => weighs(each.weight)} />
    <${Part} kind="minus" title=${t("members.removed.count", { count: changes.removed.length })} members=${changes.removed} />
    <${Part} kind="" title=${t("members.reweighted", { count: changes.reweighted.length })} members=${changes.reweighted}
      note=${({ was, weight }) => `${number(was)} → ${number(weight)}`} />
    <p class="hint">${t("members.review.hint")}</p>
  <//>`;
}

const weighs = (weight) => (weight === 1 ? "" : t("members.weighs", { weight }));

function Part({ kind, title, members, note }) {
  if (!members.length) return null;
  return html`<section class=${`change-part ${kind}`}>
    <h3>${title}</h3>
    <ul>
      ${members.slice(0, SHOWN).map((each) => html`<li key=${each.caller_id_id}><span class="numeric">${each.number}</span>${note && html` <span class="soft numeric">${note(each)}</span>`}</li>`)}
      ${members.length > SHOWN && html`<li class="soft">${t("members.andMore", { count: members.length - SHOWN })}</li>`}
    </ul>
  </section>`;
}

/** A lost update: the members in which mine and theirs differ. */
export function MembersConflict({ draft, theirs, isBusy, onKeep, onTake, onClose }) {
  const [mine, other, base] = [draft.value, theirs, draft.base].map((list) => new Map(list.map((each) => [each.caller_id_id, each])));
  const differ = [...new Set([...mine.keys(), ...other.keys()])].filter((id) => mine.get(id)?.weight !== other.get(id)?.weight).sort((a, b) => a - b);
  const rows = differ.slice(0, SHOWN).map((id) => ({
    key: id,
    label: html`<span class="numeric">${(mine.get(id) ?? other.get(id)).number}</span>`,
    mine: told(mine.get(id)),
    theirs: told(other.get(id)),
    isMine: mine.get(id)?.weight !== base.get(id)?.weight,
    isTheirs: other.get(id)?.weight !== base.get(id)?.weight,
  }));
  return html`<${ConflictDialog} ...${{ onKeep, onTake, onClose, isBusy }}>
    ${rows.length ? html`<${SideBySide} rows=${rows} />` : html`<p>${t("members.conflict.same")}</p>`}
    ${differ.length > SHOWN && html`<p class="soft">${t("members.andMore", { count: differ.length - SHOWN })}</p>`}
  <//>`;
}

const told = (member) => (member ? t("members.weighs", { weight: member.weight }) : t("members.notIn"));
