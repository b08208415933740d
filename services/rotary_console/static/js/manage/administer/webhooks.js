// Webhooks: who is told what.
import { html, useState } from "../../preact.js";
import { post } from "../../api.js";
import { Button } from "../../components/controls.js";
import { EmptyState, PageHeader } from "../../components/layout.js";
import { t } from "../../i18n.js";
import { href, navigate } from "../../router.js";
import { may } from "../../session.js";
import { asked, managed, newKey, useRead, withQuery } from "../kit/data.js";
import { onlyReads, OnOff, When } from "../kit/parts.js";
import { isBare, ListPart } from "../kit/rows.js";
import { WebhookForm, WebhookSecret } from "./webhook_form.js";

export default function Webhooks({ query }) {
  const read = useRead(withQuery(managed("/webhooks"), { page: query.page }));
  const [isNew, setNew] = useState(false);
  const [made, setMade] = useState(null);
  const create = may("admin") && html`<${Button} kind="primary" icon="plus" onClick=${() => setNew(true)}>${t("webhooks.new")}<//>`;
  const none = html`<${EmptyState} icon="webhook" title=${t("webhooks.none")} action=${create}>${t("webhooks.none.hint")}<//>`;
  const columns = [
    { key: "url", label: t("field.url"), header: true, cell: (row) => html`<a class="strong breaks" href=${href(`/webhooks/${row.id}`)}>${row.url}</a>` },
    { key: "status", label: t("column.status"), cell: (row) => html`<${OnOff} status=${row.status} />` },
    { key: "events", label: t("field.events"), cell: (row) => html`<span class="tags">${row.events.map((each) => html`<code key=${each} title=${t(`event.${each}`)}>${each}</code>`)}</span>` },
    { key: "created", label: t("field.created_at"), optional: true, cell: (row) => html`<${When} at=${row.created_at} />` },
  ];
  const created = (hook) => {
    setNew(false);
    setMade(hook);
    read.reload();
  };
  return html`
    <${PageHeader} title=${t("nav.webhooks")} description=${may("admin") ? t("webhooks.about") : onlyReads("webhooks.operator")} actions=${!isBare(read) && create} />
    <${ListPart} read=${read} none=${none} caption=${t("nav.webhooks")} columns=${columns} onPage=${(page) => navigate("/webhooks", asked(query, { page }), { replace: true })} />
    ${isNew && html`<${WebhookForm} title=${t("webhooks.new")} row=${{ events: ["caller_id.cooldown_started", "group.exhausted"] }}
      save=${(body) => post(managed("/webhooks"), body, { once: newKey() })} onClose=${() => setNew(false)} onSaved=${created} />`}
    ${made && html`<${WebhookSecret} hook=${made} onClose=${() => navigate(`/webhooks/${made.id}`)} />`}`;
}
