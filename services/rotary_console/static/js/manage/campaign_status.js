// Starting, pausing and archiving a campaign; and what is missing when it can't start.
import { html, useState } from "../preact.js";
import { get, put } from "../api.js";
import { Button, Field, useAction } from "../components/controls.js";
import { Badge, Failure, Notice } from "../components/layout.js";
import { confirm, Dialog } from "../components/overlays.js";
import { t } from "../i18n.js";
import { href } from "../router.js";
import { may } from "../session.js";
import { unlessChanged } from "./kit/change.js";
import { campaigns } from "./kit/data.js";

export const STATUSES = ["draft", "active", "paused", "archived"];
const FOLLOWING = { draft: ["active", "archived"], active: ["paused", "archived"], paused: ["active"], archived: [] };
const KINDS = { draft: "neutral", active: "eligible", paused: "cooldown", archived: "disabled" };
const ICONS = { draft: "edit", active: "check", paused: "cooldown", archived: "disabled" };
const GROUP = "caller_id_group_id";

export const CampaignBadge = ({ status }) => html`<${Badge} kind=${KINDS[status]} icon=${ICONS[status]}>${t(`campaignStatus.${status}`)}<//>`;

/** Buttons for each status that may follow. A campaign that lacks a group is asked for one, where the server says so. */
export function StatusActs({ row, act, groups, isCompact = false }) {
  const [refusal, setRefusal] = useState(null);
  if (!may("operator")) return null;
  const values = { name: row.name };
  const url = campaigns(`/${row.id}`);
  const change = async (status) => {
    if (status !== "active" && !(await ask(status, values))) return;
    await act(async () => {
      try {
        return await unlessChanged(url, row, (etag) => put(`${url}/status`, { status }, { etag }));
      } catch (error) {
        if (!error.field(GROUP)) throw error;
        setRefusal(error.field(GROUP));
        return false;
      }
    }, t(`campaigns.${status}.done`, values));
  };
  const started = () => {
    setRefusal(null);
    act(async () => {}, t("campaigns.active.done", values));
  };
  return html`<span class="row-acts">
    ${FOLLOWING[row.status].map(
      (status) => html`<${Button} key=${status} kind=${isCompact ? "quiet" : status === "active" ? "primary" : ""} onClick=${() => change(status)}
        aria-label=${t(`campaigns.${status}.of`, values)}>${t(`campaigns.${status}.do`)}<//>`,
    )}
    ${refusal && html`<${NeedsGroup} ...${{ row, url, refusal, groups }} onClose=${() => setRefusal(null)} onStarted=${started} />`}
  </span>`;
}

const ask = (status, values) =>
  confirm({ title: t(`campaigns.${status}.title`, values), body: t(`campaigns.${status}.body`), action: t(`campaigns.${status}.do`), danger: status === "archived" });

/** The field that the server refused, and how to put it right at once. */
function NeedsGroup({ row, url, refusal, groups, onClose, onStarted }) {
  const usable = (groups ?? []).filter(({ status }) => status === "active");
  const [chosen, setChosen] = useState("");
  const [run, isBusy, error] = useAction();
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      const { data, etag } = await get(url);
      const given = String(data[GROUP]) === chosen ? { etag } : await put(url, { [GROUP]: Number(chosen) }, { etag });
      await put(`${url}/status`, { status: "active" }, { etag: given.etag });
      onStarted();
    });
  };
  const footer = html`<${Button} onClick=${onClose}>${t("dialog.cancel")}<//>
    <${Button} kind="primary" type="submit" form="needs-group" busy=${isBusy} disabled=${!chosen}>${t("campaigns.useAndStart")}<//>`;
  return html`<${Dialog} title=${t("campaigns.cannotStart", { name: row.name })} onClose=${onClose} footer=${footer}>
    <form id="needs-group" class="stack" onSubmit=${submit}>
      ${error && !error.field(GROUP) && html`<${Failure} error=${error} />`}
      <p class="soft">${t("campaigns.needsGroup")}</p>
      <${Field} as="select" label=${t("field.caller_id_group_id")} error=${error?.field(GROUP) || refusal} value=${chosen} onValue=${setChosen} required>
        <option value="">${t("campaigns.chooseGroup")}</option>
        ${usable.map(({ id, name, caller_ids_count: count }) => html`<option value=${String(id)}>${t("campaigns.group.option", { name, count })}</option>`)}
      <//>
      ${groups && !usable.length && html`<${Notice} kind="warning"><p>${t("campaigns.noGroups")} <a href=${href("/caller-id-groups")}>${t("nav.groups")}</a></p><//>`}
    </form>
  <//>`;
}
