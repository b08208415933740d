// Forms that lose nothing: what is wrong is told at its field, and an update never overwrites what was not seen.
import { html, useId, useRef, useState } from "../../preact.js";
import { get } from "../../api.js";
import { Button, useAction } from "../../components/controls.js";
import { Failure, Notice } from "../../components/layout.js";
import { confirm, Dialog, toast } from "../../components/overlays.js";
import { t } from "../../i18n.js";
import { Conflict } from "./conflict.js";
import { isSame, useDraft } from "./draft.js";

// How the API's values are typed: `read` for the field, `write` for the API.
export const TEXT = { read: (value) => value ?? "", write: (value) => value.trim() };
export const OPTIONAL_TEXT = { read: (value) => value ?? "", write: (value) => value.trim() || null };
export const WHOLE = { read: (value) => (value ?? "") + "", write: (value) => (value === "" ? null : Number(value)) };
export const AS_IS = { read: (value) => value, write: (value) => value };
export const CHOICE_OF_ID = { read: (value) => (value ?? "") + "", write: (value) => (value ? Number(value) : null) };

/**
 * A form for a row. `codecs` has each field with one of the above; `row` is the row as the API has it, in the version `etag`,
 * or the values of a new one. `url` is where the row is read again after a lost update. `save(body, etag)` sends the fields
 * that changed (of a new row, all of them); `onSaved` gets its result. `refusedAt` is the field that a 409 is about.
 */
export function useForm({ name, codecs, row, etag = null, url = null, save, onSaved, refusedAt = null }) {
  const draft = useDraft(name, typed(codecs, row), etag);
  const [run, isBusy, error] = useAction();
  const [conflict, setConflict] = useState(null);
  const element = useRef(null);
  const changes = () => {
    const { base, value } = draft.latest.current;
    const names = Object.keys(codecs).filter((each) => !url || !isSame(base[each], value[each]));
    return Object.fromEntries(names.map((each) => [each, codecs[each].write(value[each])]));
  };
  const attempt = async () => {
    try {
      const saved = await save(changes(), draft.latest.current.etag);
      draft.forget();
      await onSaved(saved);
    } catch (failure) {
      if (!failure.isLostUpdate || !url) throw failure;
      const { data, etag: newer } = await get(url);
      setConflict({ theirs: typed(codecs, data), etag: newer });
    }
  };
  const submit = async (event) => {
    event?.preventDefault();
    await run(attempt);
    requestAnimationFrame(() => element.current?.querySelector("[aria-invalid=true]")?.focus());
  };
  return {
    ...draft, codecs, isBusy, error, element, submit, conflict,
    set: (field, value) => draft.set({ ...draft.latest.current.value, [field]: value }),
    /** The props of a field that is bound to a value. */
    bind: (field) => ({
      value: draft.value[field],
      onValue: (value) => draft.set({ ...draft.latest.current.value, [field]: value }),
      error: problem(error, field, refusedAt),
    }),
    problem: (field) => problem(error, field, refusedAt),
    isPlaced: error !== null && isPlaced(error, codecs, refusedAt),
    /** What I changed, on top of their version. */
    keepMine: () => {
      const { base, value } = draft.latest.current;
      const mine = Object.keys(codecs).filter((each) => !isSame(base[each], value[each]));
      const merged = { ...conflict.theirs, ...Object.fromEntries(mine.map((each) => [each, value[each]])) };
      draft.rebase(conflict.theirs, conflict.etag, merged);
      setConflict(null);
      return submit();
    },
    takeTheirs: () => {
      draft.rebase(conflict.theirs, conflict.etag);
      setConflict(null);
      toast(t("conflict.taken"));
    },
    leaveConflict: () => setConflict(null),
  };
}

const typed = (codecs, row) => Object.fromEntries(Object.entries(codecs).map(([each, { read }]) => [each, read(row[each])]));

function problem(error, field, refusedAt) {
  if (error?.status === 409 && field === refusedAt) return error.message;
  return error?.field?.(field) || undefined;
}

/** Whether everything that is wrong is told at a field. */
function isPlaced(error, codecs, refusedAt) {
  if (error.status === 409) return refusedAt !== null;
  const names = Object.keys(error.errors ?? {});
  return names.length > 0 && names.every((each) => each.split(/[.[]/)[0] in codecs);
}

/** What is wrong with the whole, or with a field that the form does not have; and what was typed before and not saved. */
export function FormProblem({ form }) {
  const { error, isPlaced: told, wasKept, isDirty } = form;
  const discard = html`<${Button} onClick=${form.discard}>${t("form.discard")}<//>`;
  const entries = error && !told ? Object.entries(error.errors ?? {}).filter(([each]) => !(each.split(/[.[]/)[0] in form.codecs)) : [];
  return html`
    ${wasKept && isDirty && !error && html`<${Notice} action=${discard}><p>${t("form.restored")}</p><//>`}
    ${error && !told && html`<${Failure} error=${error} />`}
    ${entries.map(([each, messages]) => html`<${Notice} kind="error"><p><code>${each}</code> ${[messages].flat().join(" ")}</p><//>`)}
    ${error?.status === 0 && html`<p class="hint">${t("form.nothingLost")}</p>`}`;
}

/** A form in a dialog. `fields`: what a lost update compares, [[name, label, show], …]. */
export function FormDialog({ title, form, fields, action, onClose, wide, children }) {
  const id = useId();
  const close = () => leave(form, onClose);
  const footer = html`<${Button} onClick=${close}>${t("dialog.cancel")}<//>
    <${Button} kind="primary" type="submit" form=${id} busy=${form.isBusy}>${action ?? t("form.save")}<//>`;
  return html`<${Dialog} title=${title} onClose=${close} footer=${footer} wide=${wide}>
    <form class="stack" id=${id} ref=${form.element} onSubmit=${form.submit}>
      <${FormProblem} form=${form} />
      ${children}
    </form>
    ${form.conflict && html`<${Conflict} form=${form} fields=${fields} />`}
  <//>`;
}

/** Closes; what was typed is thrown away only if that is meant. */
export async function leave(form, onClose) {
  if (form.isDirty && !(await confirmDiscard())) return;
  form.discard();
  onClose();
}

export const confirmDiscard = () =>
  confirm({ title: t("form.discard.title"), body: t("form.discard.body"), action: t("form.discard"), danger: true });
