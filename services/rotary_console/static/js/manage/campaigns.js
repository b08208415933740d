// Campaigns: what they dial with, and whether they do.
import { html } from "../preact.js";
import { Button, Segments } from "../components/controls.js";
import { EmptyState, PageHeader } from "../components/layout.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { href, navigate } from "../router.js";
import { may } from "../session.js";
import { CampaignBadge, STATUSES, StatusActs } from "./campaign_status.js";
import { useActs } from "./kit/change.js";
import { asked, campaigns, useGroups, useRead, withQuery } from "./kit/data.js";
import { onlyReads, When } from "./kit/parts.js";
import { isBare, ListPart } from "./kit/rows.js";

export default function Campaigns({ query }) {
  const { status, page } = query;
  const read = useRead(withQuery(campaigns(), { status, page }));
  const groups = useGroups();
  const [act, problem] = useActs(read.reload);
  const names = new Map((groups ?? []).map(({ id, name }) => [id, name]));
  const ask = (change) => navigate("/campaigns", asked(query, change), { replace: true });
  const create = may("operator") && html`<${Button} kind="primary" icon="plus" href=${href("/campaigns/new")}>${t("campaigns.new")}<//>`;
  const none = html`<${EmptyState} icon="campaign" title=${t("campaigns.none")} action=${create}>${t("campaigns.none.hint")}<//>`;
  const columns = [
    { key: "name", label: t("field.name"), header: true, cell: (row) => html`<a class="strong" href=${href(`/campaigns/${row.id}`)}>${row.name}</a>${row.description && html`<span class="sub">${row.description}</span>`}` },
    { key: "status", label: t("column.status"), cell: (row) => html`<${CampaignBadge} status=${row.status} />` },
    { key: "mode", label: t("field.dialer_mode"), cell: (row) => t(`mode.${row.dialer_mode}`) },
    { key: "group", label: t("field.caller_id_group_id"), cell: (row) => groupLink(row, names) },
    { key: "priority", label: t("field.priority"), numeric: true, optional: true, cell: (row) => number(row.priority) },
    { key: "updated", label: t("field.updated_at"), optional: true, cell: (row) => html`<${When} at=${row.updated_at} />` },
    { key: "acts", label: t("rows.acts"), bare: true, cell: (row) => html`<${StatusActs} ...${{ row, act, groups }} isCompact=${true} />` },
  ];
  return html`
    <${PageHeader} title=${t("nav.campaigns")} description=${may("operator") ? t("campaigns.about") : onlyReads("campaigns.viewer")} actions=${!isBare(read, status) && create} />
    ${problem}
    <div class="toolbar">
      <${Segments} label=${t("column.status")} value=${status ?? ""} onValue=${(value) => ask({ status: value })}
        options=${[["", t("filter.all")], ...STATUSES.map((each) => [each, t(`campaignStatus.${each}`)])]} />
    </div>
    <${ListPart} read=${read} none=${none} filtered=${status} onPage=${(next) => ask({ page: next })} caption=${t("nav.campaigns")} columns=${columns} />`;
}

export function groupLink({ caller_id_group_id: id }, names) {
  if (id === null) return html`<span class="faint">${t("campaigns.noGroup")}</span>`;
  return html`<a href=${href(`/groups/${id}`)}>${names.get(id) ?? id}</a>`;
}
