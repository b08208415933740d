// Groups of caller IDs.
import { html, useState } from "../preact.js";
import { post, put, remove } from "../api.js";
import { Button, Checkbox, Field, Search, Select } from "../components/controls.js";
import { EmptyState, Failure, Loading, PageHeader } from "../components/layout.js";
import { confirm, Dialog, toast } from "../components/overlays.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { href, navigate } from "../router.js";
import { may } from "../session.js";
import { unlessChanged, useActs } from "./kit/change.js";
import { asked, managed, newKey, useRead, withQuery } from "./kit/data.js";
import { AS_IS, FormDialog, OPTIONAL_TEXT, TEXT, useForm } from "./kit/form.js";
import { Menu } from "./kit/menu.js";
import { onlyReads, OnOff, When } from "./kit/parts.js";
import { isBare, ListPart } from "./kit/rows.js";

export const STRATEGIES = ["round_robin", "least_used", "cap_based", "weighted", "sticky_lead", "random"];
const CODECS = {
  name: TEXT,
  description: OPTIONAL_TEXT,
  rotation_strategy: { read: (value) => value ?? STRATEGIES[0], write: (value) => value },
  sticky_enabled: { ...AS_IS, read: (value) => value ?? false },
};
const PATH = "/caller-id-groups";
const urlOf = ({ id }) => managed(`${PATH}/${id}`);
const pageOf = ({ id }) => href(`${PATH}/${id}`);

export default function Groups({ query }) {
  const { search, status, page } = query;
  const read = useRead(withQuery(managed(PATH), { search, status, page }));
  const [edited, setEdited] = useState(null);
  const [act, problem] = useActs(read.reload);
  const ask = (change) => navigate(PATH, asked(query, change), { replace: true });
  const saved = (row) => {
    const isNew = !edited.id;
    setEdited(null);
    if (isNew) navigate(`${PATH}/${row.id}`);
    else read.reload();
  };
  const create = may("admin") && html`<${Button} kind="primary" icon="plus" onClick=${() => setEdited({})}>${t("groupsManage.new")}<//>`;
  const none = html`<${EmptyState} icon="groups" title=${t("groups.none")} action=${create}>${t(may("admin") ? "groupsManage.none" : "groups.none.hint")}<//>`;
  const columns = [
    { key: "name", label: t("field.name"), header: true, cell: (row) => html`<a class="strong" href=${pageOf(row)}>${row.name}</a>${row.description && html`<span class="sub">${row.description}</span>`}` },
    { key: "status", label: t("column.status"), cell: (row) => html`<${OnOff} status=${row.status} />` },
    { key: "strategy", label: t("field.rotation_strategy"), cell: (row) => html`${t(`strategy.${row.rotation_strategy}`)}${row.sticky_enabled && html`<span class="sub">${t("groupsManage.sticky.on")}</span>`}` },
    { key: "count", label: t("groupsManage.count"), numeric: true, cell: (row) => number(row.caller_ids_count) },
    { key: "created", label: t("field.created_at"), optional: true, cell: (row) => html`<${When} at=${row.created_at} />` },
    { key: "acts", label: t("rows.acts"), bare: true, cell: (row) => html`<${GroupActs} ...${{ row, act }} onEdit=${() => setEdited(row)} />` },
  ];
  return html`
    <${PageHeader} title=${t("nav.groups")} description=${may("admin") ? t("groupsManage.about") : onlyReads("groupsManage.reads")} actions=${!isBare(read, search || status) && create} />
    ${problem}
    <div class="toolbar">
      <${Search} label=${t("groups.search")} value=${search ?? ""} onValue=${(text) => ask({ search: text })} maxlength="200" />
      <${Select} label=${t("column.status")} value=${status ?? ""} onValue=${(value) => ask({ status: value })}
        options=${[["", t("filter.status")], ["active", t("value.active")], ["disabled", t("value.disabled")]]} />
    </div>
    <${ListPart} read=${read} none=${none} filtered=${search || status} onPage=${(next) => ask({ page: next })} caption=${t("nav.groups")} columns=${columns} />
    ${edited && html`<${GroupDialog} row=${edited} onClose=${() => setEdited(null)} onSaved=${saved} />`}`;
}

/** What can be done to a group, in a list and on its own page. */
export function GroupActs({ row, act, onEdit, onGone }) {
  const values = { name: row.name };
  const isOn = row.status === "active";
  const toggle = () => act(() => unlessChanged(urlOf(row), row, (etag) => post(`${urlOf(row)}/${isOn ? "disable" : "enable"}`, undefined, { etag })), t(isOn ? "groupsManage.disabled" : "groupsManage.enabled", values));
  const disable = async () => {
    if (await confirm({ title: t("groupsManage.disable.title", values), body: t("groupsManage.disable.body"), action: t("act.disable") })) await toggle();
  };
  const erase = async () => {
    if (!(await confirm({ title: t("groupsManage.delete.title", values), body: t("groupsManage.delete.body", { count: row.caller_ids_count }), action: t("act.delete"), danger: true }))) return;
    await act(async () => {
      const isDone = await unlessChanged(urlOf(row), row, (etag) => remove(urlOf(row), { etag }));
      if (isDone) onGone?.();
      return isDone;
    }, t("groupsManage.deleted", values));
  };
  const items = [
    { icon: "pulse", text: t("groupsManage.live"), href: href(`/groups/${row.id}`) },
    !onGone && { icon: "groups", text: t("members.title"), href: pageOf(row) },
    may("operator") && { icon: "audit", text: t("act.changes"), href: href("/audit", { entity: "group", entity_id: row.id }) },
    may("admin") && (isOn ? { icon: "disabled", text: t("act.disable"), onSelect: disable } : { icon: "check", text: t("act.enable"), onSelect: toggle }),
    may("admin") && { icon: "trash", text: t("act.delete"), onSelect: erase, danger: true },
  ];
  return html`<span class="row-acts">
    ${may("admin") && html`<${Button} kind="quiet" icon="edit" label=${t("act.edit.of", values)} onClick=${onEdit} />`}
    <${Menu} label=${t("act.more.of", values)} items=${items} />
  </span>`;
}

/** `row` without an id is a new one. */
export function GroupDialog({ row, onClose, onSaved }) {
  const url = row.id ? urlOf(row) : null;
  const read = useRead(url);
  const title = row.id ? t("groupsManage.edit", { name: row.name }) : t("groupsManage.new");
  if (!url) return html`<${Editor} ...${{ title, onClose, onSaved }} row=${{}} />`;
  if (read.found) return html`<${Editor} ...${{ title, url, onClose, onSaved }} row=${read.found.data} etag=${read.found.etag} />`;
  return html`<${Dialog} title=${title} onClose=${onClose}>${read.error ? html`<${Failure} error=${read.error} onRetry=${read.reload} />` : html`<${Loading} />`}<//>`;
}

function Editor({ title, url, row, etag, onClose, onSaved }) {
  const form = useForm({
    name: `group ${row.id ?? "new"}`,
    codecs: CODECS, row, etag, url,
    save: (body, tag) => (url ? put(url, body, { etag: tag }) : post(managed(PATH), body, { once: newKey() })),
    onSaved: ({ data }) => {
      toast(t(url ? "form.saved" : "groupsManage.created", { name: data.name }));
      onSaved(data);
    },
  });
  const { bind } = form;
  const strategy = bind("rotation_strategy");
  const sticky = bind("sticky_enabled");
  const fields = [
    ["name", t("field.name")], ["description", t("field.description")],
    ["rotation_strategy", t("field.rotation_strategy"), (value) => t(`strategy.${value}`)],
    ["sticky_enabled", t("field.sticky_enabled"), (value) => t(value ? "value.yes" : "value.no")],
  ];
  return html`<${FormDialog} title=${title} form=${form} fields=${fields} onClose=${onClose} action=${url ? undefined : t("act.create")}>
    <${Field} label=${t("field.name")} required maxlength="150" autocomplete="off" ...${bind("name")} />
    <${Field} label=${t("field.description")} as="textarea" rows="2" optional maxlength="500" ...${bind("description")} />
    <${Field} as="select" label=${t("field.rotation_strategy")} hint=${t(`strategyHint.${strategy.value}`)} ...${strategy}>
      ${STRATEGIES.map((each) => html`<option value=${each}>${t(`strategy.${each}`)}</option>`)}
    <//>
    <${Checkbox} label=${t("field.sticky_enabled")} hint=${t("groupsManage.sticky.hint")} checked=${sticky.value} onValue=${sticky.onValue} />
  <//>`;
}
