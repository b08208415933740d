// Bearer tokens for programs: each is shown once.
import { html, useState } from "../../preact.js";
import { post, remove } from "../../api.js";
import { Button, Checkbox, Field } from "../../components/controls.js";
import { Badge, EmptyState, PageHeader } from "../../components/layout.js";
import { confirm, toast } from "../../components/overlays.js";
import { now } from "../../clock.js";
import { number } from "../../format.js";
import { t } from "../../i18n.js";
import { navigate } from "../../router.js";
import { session } from "../../session.js";
import { unlessChanged, useActs } from "../kit/change.js";
import { asked, managed, newKey, useRead, withQuery } from "../kit/data.js";
import { AS_IS, FormDialog, TEXT, useForm, WHOLE } from "../kit/form.js";
import { Choices, When } from "../kit/parts.js";
import { isBare, ListPart } from "../kit/rows.js";
import { Secret } from "../kit/secret.js";

const SCOPES = ["telesales_api_access", "caller_id_read", "caller_id_pick", "manage_caller_ids"];
const LIVES = ["", "30", "90", "365"];
const OVERLAPS = ["86400", "3600", "604800", "0"];
const DAY_MS = 86_400_000;
const MOST_CODE = 10;

export default function Tokens({ query }) {
  const read = useRead(withQuery(managed("/tokens"), { page: query.page }));
  const [isNew, setNew] = useState(false);
  const [rotated, setRotated] = useState(null);
  const [made, setMade] = useState(null);
  const [act, problem] = useActs(read.reload);
  const done = (token) => {
    setNew(false);
    setRotated(null);
    setMade(token);
    read.reload();
  };
  const revoke = async (row) => {
    const values = { name: row.name };
    if (!(await confirm({ title: t("tokens.revoke.title", values), body: t("tokens.revoke.body"), action: t("tokens.revoke"), danger: true }))) return;
    const url = managed(`/tokens/${row.id}`);
    await act(() => unlessChanged(url, row, (etag) => remove(url, { etag })), t("tokens.revoked", values));
  };
  const create = html`<${Button} kind="primary" icon="plus" onClick=${() => setNew(true)}>${t("tokens.new")}<//>`;
  const none = html`<${EmptyState} icon="key" title=${t("tokens.none")} action=${create}>${t("tokens.none.hint")}<//>`;
  const columns = [
    { key: "name", label: t("field.name"), header: true, cell: (row) => html`<span class="strong">${row.name}</span>` },
    { key: "status", label: t("column.status"), cell: (row) => html`<${Life} row=${row} />` },
    { key: "scopes", label: t("field.scopes"), cell: ({ scopes }) => html`<span class="tags">${scopes.map((each) => html`<code key=${each} title=${t(`scope.${each}`)}>${each}</code>`)}</span>` },
    { key: "rate", label: t("field.rate_limit_per_minute"), numeric: true, cell: (row) => (row.rate_limit_per_minute ? number(row.rate_limit_per_minute) : t("tokens.unlimited")) },
    { key: "created", label: t("field.created_at"), optional: true, cell: (row) => html`<${When} at=${row.created_at} />` },
    { key: "expires", label: t("field.expires_at"), cell: (row) => html`<${When} at=${row.expires_at} none=${t("tokens.never")} />` },
    { key: "acts", label: t("rows.acts"), bare: true, cell: (row) => lifeOf(row) !== "revoked" && html`<span class="row-acts">
        ${lifeOf(row) === "active" && html`<${Button} kind="quiet" onClick=${() => setRotated(row)} aria-label=${t("tokens.rotate.of", { name: row.name })}>${t("tokens.rotate")}<//>`}
        <${Button} kind="quiet" class="bad" onClick=${() => revoke(row)} aria-label=${t("tokens.revoke.of", { name: row.name })}>${t("tokens.revoke")}<//>
      </span>` },
  ];
  return html`
    <${PageHeader} title=${t("nav.tokens")} description=${t("tokens.about")} actions=${!isBare(read) && create} />
    ${problem}
    <${ListPart} read=${read} none=${none} caption=${t("nav.tokens")} columns=${columns} onPage=${(page) => navigate("/tokens", asked(query, { page }), { replace: true })} />
    ${isNew && html`<${NewToken} onClose=${() => setNew(false)} onMade=${done} />`}
    ${rotated && html`<${Rotate} row=${rotated} onClose=${() => setRotated(null)} onMade=${done} />`}
    ${made && html`<${Secret} title=${t("tokens.made", { name: made.name })} parts=${[[t("tokens.token"), made.token]]} onClose=${() => setMade(null)}>
      <div class="secret-part"><h3>${t("tokens.try")}</h3><pre class="code" tabindex="0">${`curl -H "Authorization: Bearer ${made.token.slice(0, MOST_CODE)}…" \\\n  ${session.value.query_url}/api/caller-id-groups`}</pre></div>
    <//>`}`;
}

function lifeOf({ revoked_at: revoked, expires_at: expires }) {
  if (revoked) return "revoked";
  return expires && Date.parse(expires) <= now() ? "expired" : "active";
}

function Life({ row }) {
  const life = lifeOf(row);
  const isEnding = life === "active" && row.expires_at && Date.parse(row.expires_at) - now() < 7 * DAY_MS;
  if (isEnding) return html`<${Badge} kind="cooldown" icon="cooldown">${t("tokens.ending")}<//>`;
  const kinds = { active: ["eligible", "check"], expired: ["cooldown", "cooldown"], revoked: ["disabled", "disabled"] };
  const [kind, icon] = kinds[life];
  return html`<${Badge} kind=${kind} icon=${icon}>${t(`tokens.life.${life}`)}<//>`;
}

const CODECS = {
  name: TEXT,
  scopes: AS_IS,
  rate_limit_per_minute: WHOLE,
  expires_at: { read: (value) => value ?? "", write: (days) => (days ? `${new Date(now() + days * DAY_MS).toISOString().slice(0, 19)}Z` : null) },
};

function NewToken({ onClose, onMade }) {
  const form = useForm({
    name: "token new", codecs: CODECS, row: { scopes: [SCOPES[0]], rate_limit_per_minute: 600 },
    save: (body) => post(managed("/tokens"), body, { once: newKey() }),
    onSaved: ({ data }) => onMade(data),
  });
  const { bind } = form;
  return html`<${FormDialog} title=${t("tokens.new")} form=${form} onClose=${onClose} action=${t("act.create")}>
    <${Field} label=${t("field.name")} hint=${t("tokens.name.hint")} required maxlength="150" autocomplete="off" ...${bind("name")} />
    <${Choices} label=${t("field.scopes")} ...${bind("scopes")} Checkbox=${Checkbox} options=${SCOPES.map((each) => [each, html`<code>${each}</code>`, t(`scope.${each}`)])} />
    <div class="pair">
      <${Field} label=${t("field.rate_limit_per_minute")} hint=${t("tokens.rate.hint")} type="number" min="1" optional ...${bind("rate_limit_per_minute")} />
      <${Field} as="select" label=${t("field.expires_at")} ...${bind("expires_at")}>
        ${LIVES.map((days) => html`<option value=${days}>${days ? t("tokens.days", { count: Number(days) }) : t("tokens.never")}</option>`)}
      <//>
    </div>
  <//>`;
}

function Rotate({ row, onClose, onMade }) {
  const url = managed(`/tokens/${row.id}`);
  const form = useForm({
    name: `token rotate ${row.id}`, codecs: { overlap_seconds: WHOLE }, row: { overlap_seconds: OVERLAPS[0] },
    save: async (body) => {
      let answer;
      const isDone = await unlessChanged(url, row, async (etag) => (answer = await post(`${url}/rotate`, body, { etag, once: newKey() })));
      return isDone && answer;
    },
    onSaved: (answer) => {
      if (!answer) return;
      toast(t("tokens.rotated", { name: row.name }));
      onMade(answer.data);
    },
  });
  return html`<${FormDialog} title=${t("tokens.rotate.title", { name: row.name })} form=${form} onClose=${onClose} action=${t("tokens.rotate")}>
    <p class="soft">${t("tokens.rotate.body")}</p>
    <${Field} as="select" label=${t("tokens.overlap")} hint=${t("tokens.overlap.hint")} ...${form.bind("overlap_seconds")}>
      ${OVERLAPS.map((each) => html`<option value=${each}>${t(`tokens.overlap.${each}`)}</option>`)}
    <//>
  <//>`;
}
