// The form of a caller ID.
import { html } from "../preact.js";
import { post, put } from "../api.js";
import { Field } from "../components/controls.js";
import { Dialog, toast } from "../components/overlays.js";
import { Failure, Loading } from "../components/layout.js";
import { t } from "../i18n.js";
import { CARRIERS } from "../live/arrange.js";
import { managed, newKey, useRead } from "./kit/data.js";
import { FormDialog, OPTIONAL_TEXT, useForm, WHOLE } from "./kit/form.js";

/** A moment in the browser's zone, as an input has it; to the minute. */
const MOMENT = {
  read: (value) => {
    if (!value) return "";
    const at = new Date(value);
    return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  },
  write: (value) => (value ? `${new Date(value).toISOString().slice(0, 19)}Z` : null),
};
const CODECS = {
  number: { read: (value) => value ?? "", write: (value) => value.replace(/[\s().-]/g, "") },
  display_name: OPTIONAL_TEXT,
  carrier: { read: (value) => value ?? "", write: (value) => value || undefined },
  trunk_name: OPTIONAL_TEXT,
  daily_cap: WHOLE,
  hourly_cap: WHOLE,
  min_gap_seconds: WHOLE,
  activated_at: MOMENT,
};

/** `row` without an id is a new one. */
export function CallerIdDialog({ row, onClose, onSaved }) {
  const url = row.id ? managed(`/caller-ids/${row.id}`) : null;
  const read = useRead(url);
  const title = row.id ? t("callerIds.edit", { number: row.number }) : t("callerIds.new");
  if (!url) return html`<${Editor} ...${{ title, onClose, onSaved }} row=${{ daily_cap: 200 }} />`;
  if (read.found) return html`<${Editor} ...${{ title, url, onClose, onSaved }} row=${read.found.data} etag=${read.found.etag} />`;
  return html`<${Dialog} title=${title} onClose=${onClose}>${read.error ? html`<${Failure} error=${read.error} onRetry=${read.reload} />` : html`<${Loading} />`}<//>`;
}

function Editor({ title, url, row, etag, onClose, onSaved }) {
  const form = useForm({
    name: `caller ID ${row.id ?? "new"}`,
    codecs: CODECS, row, etag, url, refusedAt: "number",
    save: (body, tag) => (url ? put(url, body, { etag: tag }) : post(managed("/caller-ids"), body, { once: newKey() })),
    onSaved: ({ data }) => {
      toast(t(url ? "form.saved" : "callerIds.created", { number: data.number }));
      onSaved();
    },
  });
  const { bind } = form;
  const carrier = (value) => (value ? t(`carrier.${value}`) : t("callerIds.carrier.auto"));
  const fields = [
    ["number", t("column.number")], ["display_name", t("field.display_name")], ["carrier", t("column.carrier"), carrier],
    ["trunk_name", t("field.trunk_name")], ["daily_cap", t("field.daily_cap")], ["hourly_cap", t("field.hourly_cap")],
    ["min_gap_seconds", t("field.min_gap_seconds")], ["activated_at", t("field.activated_at")],
  ];
  return html`<${FormDialog} title=${title} form=${form} fields=${fields} onClose=${onClose} action=${url ? undefined : t("act.create")}>
    <${Field} label=${t("column.number")} hint=${t("callerIds.number.hint")} inputmode="tel" autocomplete="off" required ...${bind("number")} />
    <${Field} label=${t("field.display_name")} hint=${t("callerIds.display.hint")} optional maxlength="100" ...${bind("display_name")} />
    <div class="pair">
      <${Field} as="select" label=${t("column.carrier")} hint=${url ? undefined : t("callerIds.carrier.hint")} ...${bind("carrier")}>
        ${!url && html`<option value="">${t("callerIds.carrier.auto")}</option>`}
        ${CARRIERS.map((each) => html`<option value=${each}>${t(`carrier.${each}`)}</option>`)}
      <//>
      <${Field} label=${t("field.trunk_name")} optional maxlength="255" ...${bind("trunk_name")} />
    </div>
    <div class="triple">
      <${Field} label=${t("field.daily_cap")} type="number" min="1" step="1" required ...${bind("daily_cap")} />
      <${Field} label=${t("field.hourly_cap")} type="number" min="1" step="1" optional ...${bind("hourly_cap")} />
      <${Field} label=${t("field.min_gap_seconds")} type="number" min="1" max="86400" step="1" optional ...${bind("min_gap_seconds")} />
    </div>
    <${Field} label=${t("field.activated_at")} hint=${t("callerIds.activated.hint")} type="datetime-local" optional ...${bind("activated_at")} />
  <//>`;
}
