// Who uses the console for this customer, and what they may do.
import { html, useState } from "../../preact.js";
import { post, put } from "../../api.js";
import { Button, Field } from "../../components/controls.js";
import { Badge, Card, Failure, Loading, PageHeader } from "../../components/layout.js";
import { confirm, toast } from "../../components/overlays.js";
import { t } from "../../i18n.js";
import { customer, session } from "../../session.js";
import { useActs } from "../kit/change.js";
import { own, useRead } from "../kit/data.js";
import { AS_IS, FormDialog, OPTIONAL_TEXT, TEXT, useForm } from "../kit/form.js";
import { Menu } from "../kit/menu.js";
import { When } from "../kit/parts.js";
import { Rows } from "../kit/rows.js";
import { Secret } from "../kit/secret.js";

const ROLES = ["viewer", "operator", "admin"];

export default function Users() {
  const read = useRead(own("/users"));
  const [isNew, setNew] = useState(false);
  const [changed, setChanged] = useState(null);
  const [made, setMade] = useState(null);
  const [act, problem] = useActs(read.reload);
  const columns = [
    { key: "name", label: t("users.name"), header: true, cell: (row) => html`<span class="strong">${row.display_name || row.name}</span><span class="sub">${row.name}</span>` },
    { key: "role", label: t("users.role"), cell: (row) => t(`role.${row.role}`) },
    { key: "status", label: t("column.status"), cell: (row) => html`<${Access} row=${row} />` },
    { key: "totp", label: t("totp.title"), cell: (row) => t(row.has_totp ? "totp.on" : "totp.off") },
    { key: "seen", label: t("users.seen"), cell: (row) => html`<${When} at=${row.last_sign_in_at} none=${t("tokens.never")} />` },
    { key: "acts", label: t("rows.acts"), bare: true, cell: (row) => html`<${UserActs} ...${{ row, act }} onRole=${() => setChanged(row)} />` },
  ];
  const created = (user) => {
    setNew(false);
    read.reload();
    setMade(user);
  };
  const saved = () => {
    setChanged(null);
    read.reload();
  };
  return html`
    <${PageHeader} title=${t("nav.users")} description=${t("users.about", { customer: customer.value.name })}
      actions=${html`<${Button} kind="primary" icon="plus" onClick=${() => setNew(true)}>${t("users.new")}<//>`} />
    ${problem}
    <div class="stack">
      ${read.error && html`<${Failure} error=${read.error} onRetry=${read.reload} />`}
      ${!read.found && !read.error && html`<${Loading} />`}
      ${read.found && html`<${Rows} caption=${t("nav.users")} columns=${columns} rows=${read.found.data} />`}
      <${Roles} />
    </div>
    ${isNew && html`<${NewUser} onClose=${() => setNew(false)} onMade=${created} />`}
    ${changed && html`<${ChangeRole} row=${changed} onClose=${() => setChanged(null)} onSaved=${saved} />`}
    ${made && html`<${Secret} title=${t("users.made", { name: made.name })} parts=${[[t("signIn.password"), made.password], [t("signIn.name"), made.name]]} onClose=${() => setMade(null)}>
      <p class="soft">${t("users.made.hint")}</p>
    <//>`}`;
}

function Access({ row }) {
  if (row.account_disabled) return html`<${Badge} kind="danger" icon="disabled">${t("users.accountDisabled")}<//>`;
  return html`<${Badge} kind=${row.disabled ? "disabled" : "eligible"} icon=${row.disabled ? "disabled" : "check"}>${t(row.disabled ? "value.disabled" : "value.active")}<//>`;
}

function UserActs({ row, act, onRole }) {
  const name = row.display_name || row.name;
  if (row.id === session.value.user.id) return html`<span class="row-acts faint you">${t("users.you")}</span>`;
  const send = (body, done) => act(() => put(own(`/users/${row.id}`), body), t(done, { name }));
  const disable = async () => (await confirm({ title: t("users.disable.title", { name }), body: t("users.disable.body"), action: t("act.disable"), danger: true })) && send({ disabled: true }, "users.disabled");
  const take = async () =>
    (await confirm({ title: t("users.remove.title", { name }), body: t("users.remove.body", { customer: customer.value.name }), action: t("users.remove"), danger: true })) && send({ role: null }, "users.removed");
  const items = [
    row.disabled ? { icon: "check", text: t("act.enable"), onSelect: () => send({ disabled: false }, "users.enabled") } : { icon: "disabled", text: t("act.disable"), onSelect: disable },
    { icon: "trash", text: t("users.remove"), onSelect: take, danger: true },
  ];
  return html`<span class="row-acts"><${Button} kind="quiet" onClick=${onRole} aria-label=${t("users.change.of", { name })}>${t("users.change")}<//><${Menu} label=${t("act.more.of", { name })} items=${items} /></span>`;
}

/** What each role may do, for whoever hands them out. */
function Roles() {
  return html`<${Card} title=${t("users.roles")}>
    <dl class="explained">${ROLES.map((each) => html`<div key=${each}><dt>${t(`role.${each}`)}</dt><dd class="soft">${t(`roleHint.${each}`)}</dd></div>`)}</dl>
  <//>`;
}

function RoleField({ form }) {
  return html`<${Field} as="select" label=${t("users.role")} hint=${t(`roleHint.${form.value.role}`)} ...${form.bind("role")}>
    ${ROLES.map((each) => html`<option value=${each}>${t(`role.${each}`)}</option>`)}
  <//>`;
}

function NewUser({ onClose, onMade }) {
  const form = useForm({
    name: "user new", codecs: { name: TEXT, display_name: OPTIONAL_TEXT, role: AS_IS }, row: { role: "viewer" }, refusedAt: "name",
    save: (body) => post(own("/users"), body),
    onSaved: ({ data }) => onMade(data),
  });
  return html`<${FormDialog} title=${t("users.new")} form=${form} onClose=${onClose} action=${t("act.create")}>
    <${Field} label=${t("signIn.name")} hint=${t("users.name.hint")} required maxlength="150" autocomplete="off" autocapitalize="none" spellcheck="false" ...${form.bind("name")} />
    <${Field} label=${t("field.display_name")} optional maxlength="100" autocomplete="off" ...${form.bind("display_name")} />
    <${RoleField} form=${form} />
    <p class="hint">${t("users.password.hint")}</p>
  <//>`;
}

function ChangeRole({ row, onClose, onSaved }) {
  const name = row.display_name || row.name;
  const form = useForm({
    name: `user ${row.id}`, codecs: { role: AS_IS }, row,
    save: (body) => put(own(`/users/${row.id}`), body),
    onSaved: () => {
      toast(t("form.saved"));
      onSaved();
    },
  });
  return html`<${FormDialog} title=${t("users.change.title", { name })} form=${form} onClose=${onClose}><${RoleField} form=${form} /><//>`;
}
