// The form of a webhook, and its secret.
import { html } from "../../preact.js";
import { Checkbox, Field } from "../../components/controls.js";
import { t } from "../../i18n.js";
import { AS_IS, FormDialog, TEXT, useForm } from "../kit/form.js";
import { Choices } from "../kit/parts.js";
import { Secret } from "../kit/secret.js";

const START = "https://";
const EVENTS = ["caller_id.cooldown_started", "caller_id.cooldown_ended", "caller_id.quota_exceeded", "group.exhausted", "group.recovered"];

export function WebhookForm({ title, row, etag, url = null, save, onClose, onSaved }) {
  const form = useForm({ name: `webhook ${row.id ?? "new"}`, codecs: { url: TEXT, events: AS_IS }, row, etag, url, save, onSaved: ({ data }) => onSaved(data) });
  const fields = [["url", t("field.url")], ["events", t("field.events"), (value) => value.join(", ")]];
  return html`<${FormDialog} title=${title} form=${form} fields=${fields} onClose=${onClose} action=${url ? undefined : t("act.create")}>
    <${Field} label=${t("field.url")} hint=${t("webhooks.url.hint")} type="url" pattern="https://.+" placeholder=${START} required maxlength="2000" ...${form.bind("url")} />
    <${Choices} label=${t("field.events")} ...${form.bind("events")} Checkbox=${Checkbox} options=${EVENTS.map((each) => [each, html`<code>${each}</code>`, t(`event.${each}`)])} />
  <//>`;
}

export function WebhookSecret({ hook, onClose }) {
  return html`<${Secret} title=${t("webhooks.secret")} parts=${[[t("webhooks.secret"), hook.secret]]} onClose=${onClose}>
    <p class="soft">${t("webhooks.secret.hint")}</p>
    <pre class="code" tabindex="0">${'X-Rotary-Signature: sha256=HMAC-SHA256(\n  secret, X-Rotary-Timestamp + "." + body)'}</pre>
  <//>`;
}
