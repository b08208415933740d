// Buttons, fields and what else people press and fill in.
import { html, useId, useRef, useState } from "../preact.js";
import { t } from "../i18n.js";
import { Icon } from "./icons.js";

/**
 * kind: "primary", "danger", "quiet", or none. With `href` it is a link that looks like a button. `busy` keeps it from
 * being pressed twice, and says so. Without children give a `label`: it is the icon's.
 */
export function Button({ kind = "", icon, label, busy = false, href, disabled = false, children, class: extra = "", ...rest }) {
  const isBare = !children || (Array.isArray(children) && !children.length);
  const name = `button ${kind} ${isBare ? "bare" : ""} ${extra}`;
  const inside = html`${busy ? html`<span class="spinner" aria-hidden="true"></span>` : icon && html`<${Icon} name=${icon} />`}
    ${!isBare && html`<span>${children}</span>`}`;
  if (href) return html`<a class=${name} href=${href} aria-label=${label} title=${label} ...${rest}>${inside}</a>`;
  return html`<button
    type="button" class=${name} aria-label=${label} title=${label} disabled=${disabled || busy} aria-busy=${busy || undefined} ...${rest}
  >${inside}</button>`;
}

/**
 * The props of an input whose text counts once it is left: `onLeave` gets it then. Until then it is kept, because the page
 * may be drawn anew while somebody types.
 */
export function useTyped(value, onLeave) {
  const [typed, setTyped] = useState(null);
  const leave = () => {
    if (typed !== null) onLeave(typed);
    setTyped(null);
  };
  return { value: typed ?? value, onInput: (event) => setTyped(event.currentTarget.value), onChange: leave, onBlur: leave };
}

/**
 * A labelled input with its hint and its error, both read with it. `as`: "input" (default), "textarea" or "select", whose
 * options are children. `onValue` gets the new value. Every other prop is the input's.
 */
export function Field({ label, hint, error, as = "input", value, onValue, class: extra = "", children, optional = false, ...rest }) {
  const id = useId();
  const described = [error && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(" ") || undefined;
  const props = {
    id,
    value,
    class: "input",
    "aria-describedby": described,
    "aria-invalid": error ? "true" : undefined,
    onInput: (event) => onValue?.(event.currentTarget.value),
    ...rest,
  };
  return html`<div class=${`field ${extra}`}>
    <label for=${id}>${label}${optional && html` <span class="faint">${t("field.optional")}</span>`}</label>
    ${as === "textarea" && html`<textarea ...${props}></textarea>`}
    ${as === "select" && html`<select ...${props}>${children}</select>`}
    ${as === "input" && html`<input ...${props} />`}
    ${error && html`<p class="error" id=${`${id}-error`}><${Icon} name="warning" />${error}</p>`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** A box to tick, with its label. */
export function Checkbox({ label, hint, checked, onValue, ...rest }) {
  const id = useId();
  return html`<div class="check">
    <input
      type="checkbox" id=${id} checked=${checked} aria-describedby=${hint ? `${id}-hint` : undefined}
      onChange=${(event) => onValue(event.currentTarget.checked)} ...${rest}
    />
    <label for=${id}>${label}</label>
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** A search box. Its label is read, not shown. */
export function Search({ label, value, onValue, ...rest }) {
  return html`<div class="search">
    <${Icon} name="search" />
    <input
      type="search" class="input" aria-label=${label} placeholder=${label} value=${value} autocomplete="off" spellcheck="false"
      onInput=${(event) => onValue(event.currentTarget.value)} ...${rest}
    />
  </div>`;
}

/** A choice with a label that is read, not shown. `options`: [[value, text], …]. */
export function Select({ label, value, onValue, options, ...rest }) {
  return html`<select class="input fit" aria-label=${label} value=${value} onChange=${(event) => onValue(event.currentTarget.value)} ...${rest}>
    ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
  </select>`;
}

/** One of a few, all in sight. `options`: [[value, content], …]. */
export function Segments({ label, value, onValue, options }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(
      ([key, content]) => html`<button type="button" aria-pressed=${String(key === value)} onClick=${() => onValue(key)}>${content}</button>`,
    )}
  </div>`;
}

/** Copies a text, and says so. */
export function Copy({ text, label }) {
  const [isDone, setDone] = useState(false);
  const timer = useRef(0);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 2000);
  };
  return html`<${Button} icon=${isDone ? "check" : "copy"} onClick=${copy}>
    <span aria-live="polite">${isDone ? t("copy.done") : (label ?? t("copy.do"))}</span>
  <//>`;
}

/** Follows a promise: [run, busy, error]. `run(work)` awaits `work()`, is busy meanwhile, and keeps an ApiError. */
export function useAction() {
  const [state, setState] = useState({ busy: false, error: null });
  const run = async (work) => {
    setState({ busy: true, error: null });
    try {
      const result = await work();
      setState({ busy: false, error: null });
      return result;
    } catch (error) {
      setState({ busy: false, error });
      if (error.name !== "ApiError") throw error;
      return undefined;
    }
  };
  return [run, state.busy, state.error];
}
