// Users of the broker, with which dialers publish their events.
import { html, useState } from "../../preact.js";
import { post, remove } from "../../api.js";
import { Button, Field } from "../../components/controls.js";
import { EmptyState, Failure, Loading, PageHeader } from "../../components/layout.js";
import { confirm } from "../../components/overlays.js";
import { number } from "../../format.js";
import { t } from "../../i18n.js";
import { useActs } from "../kit/change.js";
import { own, useRead } from "../kit/data.js";
import { FormDialog, TEXT, useForm, WHOLE } from "../kit/form.js";
import { Rows } from "../kit/rows.js";
import { Secret } from "../kit/secret.js";

const NOT_SET = 501;

export default function Dialers() {
  const read = useRead(own("/dialers"));
  const [isNew, setNew] = useState(false);
  const [access, setAccess] = useState(null);
  const [act, problem] = useActs(read.reload);
  if (read.error?.status === NOT_SET) {
    return html`<${PageHeader} title=${t("nav.dialers")} /><${EmptyState} icon="dialer" title=${t("dialers.off")}>${t("dialers.off.hint")} <span class="faint">${read.error.message}</span><//>`;
  }
  const rotate = async ({ name }) => {
    if (!(await confirm({ title: t("dialers.rotate.title", { name }), body: t("dialers.rotate.body"), action: t("dialers.rotate"), danger: true }))) return;
    await act(async () => setAccess((await post(own(`/dialers/${name}/rotate`))).data));
  };
  const revoke = async ({ name, connections }) => {
    if (!(await confirm({ title: t("dialers.revoke.title", { name }), body: t("dialers.revoke.body", { count: connections }), action: t("tokens.revoke"), danger: true }))) return;
    await act(() => remove(own(`/dialers/${name}`)), t("dialers.revoked", { name }));
  };
  const create = html`<${Button} kind="primary" icon="plus" onClick=${() => setNew(true)}>${t("dialers.new")}<//>`;
  const columns = [
    { key: "name", label: t("field.name"), header: true, cell: (row) => html`<span class="strong">${row.name}</span><span class="sub"><code>${row.user}</code></span>` },
    { key: "connections", label: t("dialers.connections"), numeric: true, cell: (row) => t("dialers.used", { count: row.connections, most: row.max_connections === null ? "∞" : number(row.max_connections) }) },
    { key: "channels", label: t("field.max_channels"), numeric: true, cell: (row) => (row.max_channels === null ? "∞" : number(row.max_channels)) },
    { key: "acts", label: t("rows.acts"), bare: true, cell: (row) => html`<span class="row-acts">
        <${Button} kind="quiet" onClick=${() => rotate(row)} aria-label=${t("dialers.rotate.of", { name: row.name })}>${t("dialers.rotate")}<//>
        <${Button} kind="quiet" class="bad" onClick=${() => revoke(row)} aria-label=${t("tokens.revoke.of", { name: row.name })}>${t("tokens.revoke")}<//>
      </span>` },
  ];
  const made = (found) => {
    setNew(false);
    setAccess(found);
    read.reload();
  };
  return html`
    <${PageHeader} title=${t("nav.dialers")} description=${t("dialers.about")} actions=${read.found?.data.length > 0 && create} />
    ${problem}
    ${read.error && html`<${Failure} error=${read.error} onRetry=${read.reload} />`}
    ${!read.found && !read.error && html`<${Loading} />`}
    ${read.found && (read.found.data.length
      ? html`<${Rows} caption=${t("nav.dialers")} columns=${columns} rows=${read.found.data} keyOf=${(row) => row.name} />`
      : html`<${EmptyState} icon="dialer" title=${t("dialers.none")} action=${create}>${t("dialers.none.hint")}<//>`)}
    ${isNew && html`<${NewDialer} onClose=${() => setNew(false)} onMade=${made} />`}
    ${access && html`<${Secret} title=${t("dialers.made", { name: access.name })} onClose=${() => setAccess(null)}
      parts=${[[t("dialers.password"), access.password], [t("dialers.user"), access.user], [t("dialers.vhost"), access.vhost]]}>
      <p class="soft">${t("dialers.made.hint")}</p>
    <//>`}`;
}

function NewDialer({ onClose, onMade }) {
  const form = useForm({
    name: "dialer new", codecs: { name: TEXT, max_connections: WHOLE, max_channels: WHOLE }, row: { max_connections: 20, max_channels: 40 }, refusedAt: "name",
    save: (body) => post(own("/dialers"), body),
    onSaved: ({ data }) => onMade(data),
  });
  return html`<${FormDialog} title=${t("dialers.new")} form=${form} onClose=${onClose} action=${t("act.create")}>
    <${Field} label=${t("field.name")} hint=${t("dialers.name.hint")} required maxlength="63" autocomplete="off" spellcheck="false" ...${form.bind("name")} />
    <div class="pair">
      <${Field} label=${t("field.max_connections")} type="number" min="1" max="10000" required ...${form.bind("max_connections")} />
      <${Field} label=${t("field.max_channels")} type="number" min="1" max="10000" required ...${form.bind("max_channels")} />
    </div>
  <//>`;
}
