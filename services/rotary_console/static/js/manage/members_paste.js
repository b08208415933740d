// A list of numbers, pasted: which of them are known is shown before any of them becomes a member.
import { html, useState } from "../preact.js";
import { get } from "../api.js";
import { Button, Field, Segments, useAction } from "../components/controls.js";
import { Failure, Notice } from "../components/layout.js";
import { Dialog } from "../components/overlays.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { href } from "../router.js";
import { inTurns, managed, MOST, readAll, withQuery } from "./kit/data.js";

const SINGLY = 20;
const SHOWN = 20;

/** The lines as { text, weight }: a number, and after a comma, a semicolon or a tab what it weighs. */
export function parse(text) {
  const lines = text.split(/\n/).map((line) => line.split(/[,;\t]/).map((part) => part.trim()));
  return lines
    .filter(([first]) => /\d/.test(first))
    .map(([first, second]) => ({ text: first.replace(/[^\d+]/g, ""), weight: /^[1-9]\d*$/.test(second ?? "") ? Number(second) : undefined }));
}

/** +84 90… and 090… are the same number. */
const canonical = (text) => text.replace(/^(\+84|84(?=\d{9}$)|0)/, "");

export function Paste({ present, change, onClose }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState(null);
  const [mode, setMode] = useState("add");
  const [progress, setProgress] = useState(null);
  const [run, isBusy, error] = useAction();
  const check = (event) => {
    event?.preventDefault();
    run(async () => setFound(await find(parse(text), (count, total) => setProgress({ count, total }))));
  };
  const take = () => {
    if (mode === "add") change.merge(found.known);
    else change.replace(found.known);
    onClose();
  };
  const edit = (value) => {
    setText(value);
    setFound(null);
  };
  const footer = html`<${Button} onClick=${onClose}>${t("dialog.cancel")}<//>
    ${found?.known.length
      ? html`<${Button} kind="primary" onClick=${take}>${t(mode === "add" ? "paste.add" : "paste.replace", { count: found.known.length })}<//>`
      : html`<${Button} kind="primary" type="submit" form="paste" busy=${isBusy} disabled=${!parse(text).length}>${t("paste.check")}<//>`}`;
  return html`<${Dialog} title=${t("members.paste")} onClose=${onClose} footer=${footer}>
    <form class="stack" id="paste" onSubmit=${check}>
      <${Field} as="textarea" rows="8" label=${t("paste.list")} hint=${t("paste.hint")} value=${text} onValue=${edit} spellcheck="false" class="numeric" />
    </form>
    ${isBusy && progress && html`<p class="soft" role="status">${t("paste.progress", progress)}</p>`}
    ${error && html`<${Failure} error=${error} />`}
    ${found && html`<${Found} found=${found} present=${present} />
      ${found.known.length > 0 && html`<${Segments} label=${t("paste.mode")} value=${mode} onValue=${setMode} options=${[["add", t("paste.mode.add")], ["replace", t("paste.mode.replace")]]} />`}`}
  <//>`;
}

function Found({ found, present }) {
  const inside = new Set(present.map(({ caller_id_id: id }) => id));
  const already = found.known.filter(({ caller_id_id: id }) => inside.has(id)).length;
  return html`<div class="stack" role="status">
    <p>${t("paste.found", { count: found.known.length })} ${already > 0 && html`<span class="soft">${t("paste.already", { count: already })}</span>`}</p>
    ${found.unknown.length > 0 &&
    html`<${Notice} kind="warning">
      <p>${t("paste.unknown", { count: found.unknown.length })}</p>
      <p class="numeric">${found.unknown.slice(0, SHOWN).join(", ")}${found.unknown.length > SHOWN ? ` … +${number(found.unknown.length - SHOWN)}` : ""}</p>
      <p>${t("paste.unknown.hint")} <a href=${href("/imports")}>${t("nav.imports")}</a></p>
    <//>`}
  </div>`;
}

/** { known: members, unknown: texts }. A few are asked for one by one; for more, all caller IDs are read. */
async function find(lines, onProgress) {
  const byNumber = lines.length <= SINGLY ? await findSingly(lines) : index(await readAll(managed("/caller-ids"), { onProgress }));
  const known = new Map();
  const unknown = [];
  for (const { text, weight } of lines) {
    const row = byNumber.get(text) ?? byNumber.get(canonical(text));
    if (!row) unknown.push(text);
    else if (!known.has(row.id)) known.set(row.id, { caller_id_id: row.id, number: row.number, weight });
  }
  return { known: [...known.values()], unknown };
}

async function findSingly(lines) {
  const rows = [];
  await inTurns(lines, async ({ text }) => {
    const { body } = await get(withQuery(managed("/caller-ids"), { search: canonical(text), per_page: MOST }));
    rows.push(...body.data);
  });
  return index(rows);
}

/** Rows by their exact number, and where that is nobody's, by the number without its prefix. */
function index(rows) {
  const found = new Map(rows.map((row) => [canonical(row.number), row]));
  for (const row of rows) found.set(row.number, row);
  return found;
}
