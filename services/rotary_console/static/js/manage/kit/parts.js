// Small things that management pages share.
import { html } from "../../preact.js";
import { Badge, Time } from "../../components/layout.js";
import { clock } from "../../format.js";
import { t } from "../../i18n.js";
import { now } from "../../clock.js";

/** Whether a row is active or disabled. */
export function OnOff({ status }) {
  const isOn = status === "active";
  return html`<${Badge} kind=${isOn ? "eligible" : "disabled"} icon=${isOn ? "check" : "disabled"}>${t(`value.${status}`)}<//>`;
}

/** A moment, short; hovering tells it in UTC. */
export function When({ at, none = "–" }) {
  return at ? html`<${Time} at=${at} text=${clock(at, now())} />` : html`<span class="faint">${none}</span>`;
}

/** Says that a role only reads here. */
export const onlyReads = (key) => html`<span class="reads-only">${t(key)}</span>`;

/** Several boxes of one question. `options`: [[value, label, hint], …]; `value` is the list of what is ticked. */
export function Choices({ label, hint, error, value, onValue, options, Checkbox }) {
  const toggle = (each) => (isOn) => onValue(options.map(([key]) => key).filter((key) => (key === each ? isOn : value.includes(key))));
  return html`<fieldset class="choices" aria-invalid=${error ? "true" : undefined} tabindex="-1">
    <legend>${label}</legend>
    ${hint && html`<p class="hint">${hint}</p>`}
    ${options.map(([key, text, about]) => html`<${Checkbox} key=${key} label=${text} hint=${about} checked=${value.includes(key)} onValue=${toggle(key)} />`)}
    ${error && html`<p class="error" role="alert">${error}</p>`}
  </fieldset>`;
}
