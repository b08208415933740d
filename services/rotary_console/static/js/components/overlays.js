// What lies over the page: dialogs, questions, and short messages.
import { html, useEffect, useId, useRef } from "../preact.js";
import { t } from "../i18n.js";
import { Store, useStore } from "../store.js";
import { Button, Field } from "./controls.js";
import { Icon } from "./icons.js";

/**
 * A modal dialog, open for as long as it is rendered. Escape and the cross call `onClose`. `footer` holds its buttons. The
 * focus stays inside, and goes back to where it was.
 */
export function Dialog({ title, onClose, footer, wide = false, children }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    // The browser gives the focus back to what had it only if the dialog is closed before it is removed.
    return () => opener?.isConnected && opener.focus();
  }, []);
  const close = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${dialog} class=${`dialog ${wide ? "wide" : ""}`} aria-labelledby=${id} onCancel=${close}>
    <header>
      <h2 id=${id}>${title}</h2>
      <${Button} kind="quiet" icon="close" label=${t("dialog.close")} onClick=${onClose} />
    </header>
    <div class="content">${children}</div>
    ${footer && html`<footer>${footer}</footer>`}
  </dialog>`;
}

const question = new Store(null);

/**
 * Asks whether to do something; true if so. `body` says what will happen. With `reason` (a label) it also asks for a text,
 * and answers { reason } instead of true. `danger` for what can't be undone.
 */
export function confirm({ title, body, action, danger = false, reason = null }) {
  return new Promise((resolve) => question.set({ title, body, action, danger, reason, resolve }));
}

const toasts = new Store([]);
const TOAST_MS = 6000;

/** Tells something that was done, or with kind "error" something that failed. It goes away by itself. */
export function toast(text, kind = "done") {
  const entry = { text, kind };
  toasts.set([...toasts.value, entry]);
  setTimeout(() => dismiss(entry), kind === "error" ? 2 * TOAST_MS : TOAST_MS);
}

function dismiss(entry) {
  toasts.set(toasts.value.filter((each) => each !== entry));
}

/** The place for all of these, once in the page. */
export function Overlays() {
  const asked = useStore(question);
  return html`${asked && html`<${Question} ...${asked} />`}<${Toasts} />`;
}

function Question({ title, body, action, danger, reason, resolve }) {
  const text = useRef("");
  const answer = (value) => {
    question.set(null);
    resolve(value);
  };
  const footer = html`
    <${Button} onClick=${() => answer(false)}>${t("dialog.cancel")}<//>
    <${Button} kind=${danger ? "danger" : "primary"} onClick=${() => answer(reason ? { reason: text.current.trim() } : true)}>
      ${action}
    <//>`;
  return html`<${Dialog} title=${title} onClose=${() => answer(false)} footer=${footer}>
    <p class="soft">${body}</p>
    ${reason && html`<${Field} label=${reason} optional=${true} maxlength="200" onValue=${(value) => (text.current = value)} />`}
  <//>`;
}

function Toasts() {
  const shown = useStore(toasts);
  return html`<div class="toasts" role="status">
    ${shown.map(
      (entry) => html`<div class=${`toast ${entry.kind}`} key=${entry}>
        <${Icon} name=${entry.kind === "error" ? "warning" : "check"} />
        <p>${entry.text}</p>
        <${Button} kind="quiet" icon="close" label=${t("toast.dismiss")} onClick=${() => dismiss(entry)} />
      </div>`,
    )}
  </div>`;
}
