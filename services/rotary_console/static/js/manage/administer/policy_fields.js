// One field of a policy: what it means, what it is, and what it would be by default.
import { html, useId } from "../../preact.js";
import { Button, Select } from "../../components/controls.js";
import { Icon } from "../../components/icons.js";
import { duration } from "../../format.js";
import { t } from "../../i18n.js";
import { exact } from "../kit/difference.js";
import { split, UNITS } from "./policy.js";

/** An empty field takes the default, which it shows. */
export function PolicyField({ name, rule, value, onValue, error }) {
  const id = useId();
  const isDuration = rule.kind === "duration";
  const amount = isDuration ? value.amount : value;
  const type = (event) => onValue(isDuration ? { ...value, amount: event.currentTarget.value } : event.currentTarget.value);
  const byDefault = isDuration ? split(rule.value) : { amount: String(rule.value) };
  const reset = () => onValue(isDuration ? { amount: "", unit: byDefault.unit } : "");
  const limits = rule.kind === "count" ? { min: rule.least, max: rule.most, step: 1 } : rule.kind === "factor" ? { min: 0, max: 1000, step: "any" } : { min: 1, step: "any" };
  return html`<div class=${`policy-field ${amount === "" ? "" : "own"}`}>
    <label for=${id}>${t(`policy.${name}`)}</label>
    <p class="hint" id=${`${id}-hint`}>${t(`policyHint.${name}`)}</p>
    <div class="policy-input">
      <input class="input numeric" id=${id} type="number" ...${limits} value=${amount} placeholder=${byDefault.amount} onInput=${type}
        aria-describedby=${[error && `${id}-error`, `${id}-hint`, `${id}-default`].filter(Boolean).join(" ")} aria-invalid=${error ? "true" : undefined} />
      ${isDuration && html`<${Select} label=${t("settings.unit", { field: t(`policy.${name}`) })} value=${value.unit} onValue=${(unit) => onValue({ ...value, unit })} options=${UNITS.map(([unit]) => [unit, t(`unit.${unit}`)])} />`}
      ${amount !== "" && html`<${Button} kind="quiet" icon="close" label=${t("settings.reset", { field: t(`policy.${name}`) })} onClick=${reset} />`}
    </div>
    <p class="hint default" id=${`${id}-default`}>${t("settings.default", { value: isDuration ? duration(rule.value) : exact(rule.value) })}</p>
    ${error && html`<p class="error" id=${`${id}-error`}><${Icon} name="warning" />${error}</p>`}
  </div>`;
}

/** Caps of numbers that are new: up to a day since their activation, so many calls a day. */
export function WarmUp({ steps, onSteps, error, problem }) {
  const change = (index, part) => (event) => onSteps(steps.map((each, at) => (at === index ? (part === 0 ? [event.currentTarget.value, each[1]] : [each[0], event.currentTarget.value]) : each)));
  return html`<div class="warm-up" role="group" aria-label=${t("policy.warm_up")}>
    <h3>${t("policy.warm_up")}</h3>
    <p class="hint">${t("policyHint.warm_up")}</p>
    ${steps.map(
      ([day, cap], index) => html`<div class="warm-step" key=${index}>
        <span>${t("settings.warm.before")}</span>
        <input class="input numeric" type="number" min="1" max="3650" required value=${day} aria-label=${t("settings.warm.day", { count: index + 1 })} onInput=${change(index, 0)} />
        <span>${t("settings.warm.cap")}</span>
        <input class="input numeric" type="number" min="1" required value=${cap} aria-label=${t("settings.warm.calls", { count: index + 1 })} onInput=${change(index, 1)} />
        <span>${t("settings.warm.after")}</span>
        <${Button} kind="quiet" icon="close" label=${t("settings.warm.remove", { count: index + 1 })} onClick=${() => onSteps(steps.filter((_, at) => at !== index))} />
        ${(problem(`warm_up[${index}]`) || problem(`warm_up[${index}][0]`) || problem(`warm_up[${index}][1]`)) && html`<p class="error">${problem(`warm_up[${index}]`) || problem(`warm_up[${index}][0]`) || problem(`warm_up[${index}][1]`)}</p>`}
      </div>`,
    )}
    ${error && html`<p class="error" role="alert"><${Icon} name="warning" />${error}</p>`}
    <div><${Button} icon="plus" onClick=${() => onSteps([...steps, [String((Number(steps.at(-1)?.[0]) || 0) + 7), String((Number(steps.at(-1)?.[1]) || 25) * 2)]])}>${t("settings.warm.add")}<//></div>
  </div>`;
}
