// One webhook: what it is told, and what it was told.
import { html, useState } from "../../preact.js";
import { post, put, remove } from "../../api.js";
import { Button, useAction } from "../../components/controls.js";
import { Icon } from "../../components/icons.js";
import { Badge, Card, EmptyState, Failure, Loading, Notice, PageHeader } from "../../components/layout.js";
import { confirm, toast } from "../../components/overlays.js";
import { Pager } from "../../components/table.js";
import { t } from "../../i18n.js";
import { href, navigate } from "../../router.js";
import { may } from "../../session.js";
import { unlessChanged, useActs } from "../kit/change.js";
import { managed, useRead, withQuery } from "../kit/data.js";
import { Menu } from "../kit/menu.js";
import { OnOff, When } from "../kit/parts.js";
import { WebhookForm, WebhookSecret } from "./webhook_form.js";

export default function Webhook({ params }) {
  const url = managed(`/webhooks/${params.id}`);
  const read = useRead(url);
  const trail = [[href("/webhooks"), t("nav.webhooks")]];
  if (read.error?.status === 404) return html`<${PageHeader} title=${t("nav.webhooks")} trail=${trail} /><${EmptyState} icon="webhook" title=${t("webhooks.gone")}>${read.error.message}<//>`;
  if (!read.found) return html`<${PageHeader} title=${t("nav.webhooks")} trail=${trail} />${read.error ? html`<${Failure} error=${read.error} onRetry=${read.reload} />` : html`<${Loading} />`}`;
  return html`<${Known} ...${{ read, url, trail }} />`;
}

function Known({ read, url, trail }) {
  const { data: row, etag } = read.found;
  const [page, setPage] = useState(1);
  const deliveries = useRead(withQuery(`${url}/deliveries`, { page, per_page: 25 }));
  const [act, problem] = useActs(read.reload);
  const [isEdited, setEdited] = useState(false);
  const [secret, setSecret] = useState(null);
  const [run, isTesting, failure] = useAction();
  const [tested, setTested] = useState(null);
  const test = () =>
    run(async () => {
      setTested((await post(`${url}/test`)).data);
      deliveries.reload();
    });
  const toggle = () => act(() => unlessChanged(url, row, (tag) => put(url, { status: row.status === "active" ? "disabled" : "active" }, { etag: tag })), t(row.status === "active" ? "webhooks.disabled" : "webhooks.enabled"));
  const disable = async () => (await confirm({ title: t("webhooks.disable.title"), body: t("webhooks.disable.body"), action: t("act.disable") })) && toggle();
  const rotate = async () => {
    if (!(await confirm({ title: t("webhooks.rotate.title"), body: t("webhooks.rotate.body"), action: t("webhooks.rotate"), danger: true }))) return;
    await act(() => unlessChanged(url, row, async (tag) => setSecret((await post(`${url}/rotate-secret`, undefined, { etag: tag })).data)));
  };
  const erase = async () => {
    if (!(await confirm({ title: t("webhooks.delete.title"), body: t("webhooks.delete.body"), action: t("act.delete"), danger: true }))) return;
    await act(async () => (await unlessChanged(url, row, (tag) => remove(url, { etag: tag }))) && navigate("/webhooks"), t("webhooks.deleted"));
  };
  const items = [
    row.status === "active" ? { icon: "disabled", text: t("act.disable"), onSelect: disable } : { icon: "check", text: t("act.enable"), onSelect: toggle },
    { icon: "key", text: t("webhooks.rotate"), onSelect: rotate },
    { icon: "audit", text: t("act.changes"), href: href("/audit", { entity: "webhook", entity_id: row.id }) },
    { icon: "trash", text: t("act.delete"), onSelect: erase, danger: true },
  ];
  const actions = may("admin") && html`<${Button} icon="webhook" busy=${isTesting} onClick=${test}>${t("webhooks.test")}<//>
    <${Button} icon="edit" onClick=${() => setEdited(true)}>${t("act.edit")}<//><${Menu} label=${t("act.more.of", { name: row.url })} items=${items} />`;
  const saved = () => {
    setEdited(false);
    toast(t("form.saved"));
    read.reload();
  };
  return html`
    <${PageHeader} title=${row.url} trail=${trail} beside=${html`<${OnOff} status=${row.status} />`} actions=${actions}
      description=${html`<span class="tags">${row.events.map((each) => html`<code key=${each} title=${t(`event.${each}`)}>${each}</code>`)}</span>`} />
    ${problem}
    <div class="stack">
      ${failure && html`<${Failure} error=${failure} />`}
      ${tested && html`<${Tested} delivery=${tested} />`}
      <${Card} title=${t("webhooks.deliveries")} description=${t("webhooks.deliveries.hint")} actions=${html`<${Button} onClick=${deliveries.reload}>${t("act.refresh")}<//>`}>
        <${Deliveries} read=${deliveries} onPage=${setPage} />
      <//>
    </div>
    ${isEdited && html`<${WebhookForm} title=${t("webhooks.edit")} ...${{ row, etag, url }} save=${(body, tag) => put(url, body, { etag: tag })} onClose=${() => setEdited(false)} onSaved=${saved} />`}
    ${secret && html`<${WebhookSecret} hook=${secret} onClose=${() => setSecret(null)} />`}`;
}

function Tested({ delivery }) {
  const [attempt] = delivery.attempts;
  const isGood = delivery.status === "delivered";
  return html`<${Notice} kind=${isGood ? "info" : "error"}><p>${t(isGood ? "webhooks.test.good" : "webhooks.test.bad")} ${attempt && outcome(attempt)}</p><//>`;
}

const KINDS = { pending: ["cooldown", "cooldown"], delivered: ["eligible", "check"], failed: ["danger", "warning"] };

function Deliveries({ read, onPage }) {
  if (read.error) return html`<${Failure} error=${read.error} onRetry=${read.reload} />`;
  if (!read.found) return html`<${Loading} />`;
  const { data } = read.found.body;
  if (!data.length) return html`<p class="soft">${t("webhooks.deliveries.none")}</p>`;
  return html`<ul class="entries">
      ${data.map((each) => html`<li key=${each.id}><details class="entry">
        <summary>
          <${Badge} kind=${KINDS[each.status][0]} icon=${KINDS[each.status][1]}>${t(`delivery.${each.status}`)}<//>
          <code>${each.event}</code><span class="soft grow">${t("webhooks.attempts", { count: each.attempts.length })}</span><${When} at=${each.created_at} /><${Icon} name="down" size=${12} />
        </summary>
        <div class="entry-body">
          <ol class="attempts">${each.attempts.map((attempt, index) => html`<li key=${index}><${When} at=${attempt.at} /> ${outcome(attempt)} <span class="faint numeric">${t("webhooks.took", { count: attempt.milliseconds })}</span></li>`)}</ol>
          ${each.next_attempt_at && html`<p class="soft">${t("webhooks.next")} <${When} at=${each.next_attempt_at} /></p>`}
          <p class="faint">${t("webhooks.delivery.id")} <code>${each.id}</code></p>
        </div>
      </details></li>`)}
    </ul>
    <${Pager} page=${read.found.body} onPage=${onPage} />`;
}

function outcome({ status, error }) {
  const isGood = status >= 200 && status < 300;
  return html`<span class=${isGood ? "good" : "bad"}>${status ? t("webhooks.answer", { status: String(status) }) : error}</span>${status && error ? html` <span class="soft">${error}</span>` : ""}`;
}
