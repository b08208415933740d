// When a campaign may dial: a week, with spans for each day.
import { html } from "../preact.js";
import { Button, Segments, useTyped } from "../components/controls.js";
import { Icon } from "../components/icons.js";
import { t } from "../i18n.js";

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const OFFICE = [{ from: "08:00", to: "12:00" }, { from: "13:00", to: "17:30" }];
const WORKDAYS = DAYS.slice(0, 5);
const DAY_MINUTES = 24 * 60;

/** The window as a text: Mon 08:00–12:00, 13:00–17:30; Tue … */
export function windowText(value) {
  if (!value) return t("window.always");
  const told = DAYS.filter((day) => value[day]?.length).map((day) => `${t(`day.${day}`)} ${value[day].map(({ from, to }) => `${from}–${to}`).join(", ")}`);
  return told.join("; ") || t("window.never");
}

/** `value` is as the API has it: null for always. `problem(day)` is what is wrong with a day. */
export function TimeWindow({ value, onValue, error, problem }) {
  const office = () => Object.fromEntries(WORKDAYS.map((day) => [day, OFFICE]));
  const choose = (kind) => onValue(kind === "always" ? null : (value ?? office()));
  // A day without spans is left out, as the API has it.
  const set = (day, spans) => onValue(Object.fromEntries(DAYS.map((each) => [each, each === day ? spans : (value[each] ?? [])]).filter(([, some]) => some.length)));
  const copy = () => onValue(Object.fromEntries(WORKDAYS.map((day) => [day, value.mon ?? []]).filter(([, some]) => some.length)));
  return html`<div class="stack window">
    <${Segments} label=${t("field.time_window")} value=${value ? "some" : "always"} onValue=${choose} options=${[["always", t("window.always")], ["some", t("window.some")]]} />
    ${error && html`<p class="error" role="alert"><${Icon} name="warning" />${error}</p>`}
    ${value &&
    html`<div class="week">
        <${Scale} />
        ${DAYS.map((day) => html`<${Day} key=${day} day=${day} spans=${value[day] ?? []} onSpans=${(spans) => set(day, spans)} error=${problem(day)} />`)}
      </div>
      <div class="cluster"><${Button} icon="copy" disabled=${!value.mon?.length} onClick=${copy}>${t("window.copy")}<//></div>`}
  </div>`;
}

function Scale() {
  return html`<div class="day scale" aria-hidden="true"><span></span><div class="hours">${[0, 6, 12, 18, 24].map((hour) => html`<span style=${{ left: `${(hour / 24) * 100}%` }}>${String(hour).padStart(2, "0")}</span>`)}</div></div>`;
}

function Day({ day, spans, onSpans, error }) {
  const name = t(`dayLong.${day}`);
  const change = (index, part) => (value) => onSpans(spans.map((each, at) => (at === index ? { ...each, [part]: value } : each)));
  const add = () => {
    const last = spans.at(-1)?.to ?? "08:00";
    const from = last < "22:00" ? last : "08:00";
    onSpans([...spans, { from, to: `${String(Math.min(23, Number(from.slice(0, 2)) + 2)).padStart(2, "0")}:${from.slice(3)}` }]);
  };
  return html`<div class="day" role="group" aria-label=${name}>
    <span class="day-name">${name}</span>
    <div class="hours" aria-hidden="true">
      ${spans.map(({ from, to }) => html`<span class="span" style=${{ left: `${share(from)}%`, width: `${Math.max(0, share(to) - share(from))}%` }}></span>`)}
    </div>
    <div class="spans">
      ${spans.map(
        ({ from, to }, index) => html`<span class="span-edit" key=${index}>
          <${Clock} value=${from} label=${t("window.from", { day: name })} isWrong=${Boolean(error)} onValue=${change(index, "from")} />
          <span aria-hidden="true">–</span>
          <${Clock} value=${to} label=${t("window.to", { day: name })} isWrong=${Boolean(error)} onValue=${change(index, "to")} />
          <${Button} kind="quiet" icon="close" label=${t("window.remove", { day: name, from, to })} onClick=${() => onSpans(spans.filter((_, at) => at !== index))} />
        </span>`,
      )}
      ${!spans.length && html`<span class="faint">${t("window.closed")}</span>`}
      <${Button} kind="quiet" icon="plus" label=${t("window.add", { day: name })} onClick=${add} />
    </div>
    ${error && html`<p class="error" role="alert"><${Icon} name="warning" />${error}</p>`}
  </div>`;
}

/** A time of 24 hours, whatever the browser's own habit is: 8, 830 and 8:30 are understood, once the field is left. */
function Clock({ value, label, isWrong, onValue }) {
  const typing = useTyped(value, (text) => onValue(clockOf(text)));
  return html`<input class="input numeric" required inputmode="numeric" maxlength="5" pattern="([01][0-9]|2[0-3]):[0-5][0-9]" placeholder="08:00" autocomplete="off"
    aria-label=${label} aria-invalid=${isWrong ? "true" : undefined} ...${typing} />`;
}

function clockOf(text) {
  const [, hours, minutes = "00"] = text.trim().match(/^(\d{1,2})\D?(\d{2})?$/) ?? [];
  return hours ? `${hours.padStart(2, "0")}:${minutes}` : text;
}

function share(time) {
  const [hours, minutes] = time.split(":").map(Number);
  return (((hours || 0) * 60 + (minutes || 0)) / DAY_MINUTES) * 100;
}
