// All groups at a glance.
import { html, useEffect, useMemo, useState } from "../preact.js";
import { Button, Search, Select } from "../components/controls.js";
import { lazy } from "../components/lazy.js";
import { Badge, EmptyState, Loading, PageHeader } from "../components/layout.js";
import { compareTexts, number, percent } from "../format.js";
import { t } from "../i18n.js";
import { nextBack } from "../live/group_state.js";
import { GroupsWatch } from "../live/groups_watch.js";
import { countsOf, Freshness, NextBack, StaleNotice, StatusBar, StatusLegend } from "../live/parts.js";
import { href, navigate } from "../router.js";
import { customer, readApi } from "../session.js";
import { memory, useStore } from "../store.js";

const GroupsWall = lazy(() => import("../live/wall.js"), "GroupsWall");

const ORDERS = {
  urgent: (a, b) => urgency(b) - urgency(a) || a.group.id - b.group.id,
  name: (a, b) => compareTexts(a.group.name, b.group.name),
  id: (a, b) => a.group.id - b.group.id,
};

export default function Groups({ query }) {
  const watch = useMemo(() => new GroupsWatch(readApi()), []);
  useEffect(() => {
    watch.start();
    return () => watch.stop();
  }, [watch]);
  const { groups, monitors } = useStore(watch.shown);
  const status = useStore(watch.status);
  const [order, setOrder] = useState(memory.get("groups.order") ?? "urgent");
  const all = (groups ?? []).map((group) => ({ group, monitor: monitors.get(group.id) ?? null }));
  const search = query.search ?? "";
  const shown = all.filter(({ group }) => fits(group, search)).sort(ORDERS[order] ?? ORDERS.urgent);
  if (query.wall === "1") return html`<${GroupsWall} shown=${shown} status=${status} />`;
  const choose = (key) => {
    memory.set("groups.order", key);
    setOrder(key);
  };
  const retry = html`<${Button} onClick=${() => watch.retry()}>${t("error.retry")}<//>`;
  return html`<div class="live">
    <${PageHeader}
      title=${t("nav.live")} beside=${html`<${Freshness} status=${status} />`}
      actions=${html`<${Button} icon="wall" href=${href("/groups", { wall: 1 })}>${t("wall.open")}<//>`}
    />
    <${StaleNotice} status=${status} onRetry=${retry} />
    ${groups === null && html`<${Loading} />`}
    ${groups?.length === 0 && html`<${EmptyState} title=${t("groups.none")}>${t("groups.none.hint")}<//>`}
    ${groups?.length > 0 &&
    html`<${Overview} all=${all} />
      <div class="toolbar">
        <${Search} label=${t("groups.search")} value=${search} onValue=${(text) => navigate("/groups", { ...query, search: text }, { replace: true })} />
        <${Select} label=${t("groups.order")} value=${order} onValue=${choose} options=${Object.keys(ORDERS).map((key) => [key, t(`groups.order.${key}`)])} />
        <p class="faint numeric" role="status">${t("groups.shown", { count: shown.length })}</p>
      </div>
      <ul class="group-cards">${shown.map((each) => html`<${GroupCard} key=${each.group.id} ...${each} />`)}</ul>`}
  </div>`;
}

function fits({ name, description }, search) {
  const wanted = search.trim().toLowerCase();
  return !wanted || `${name} ${description ?? ""}`.toLowerCase().includes(wanted);
}

/** The less of an active group may dial, the more urgent; groups that nobody dials with come last. */
function urgency({ group, monitor }) {
  if (group.status !== "active") return -2;
  if (!monitor?.total_members) return -1;
  return 1 - monitor.eligible_now / monitor.total_members;
}

/** The customer's numbers over all groups; one that is in two groups counts once. */
function Overview({ all }) {
  const members = new Map(all.flatMap(({ monitor }) => monitor?.members ?? []).map((member) => [member.caller_id_id, member]));
  if (!members.size) return null;
  const counts = { eligible: 0, cooldown: 0, quota_exceeded: 0, disabled: 0 };
  for (const { status } of members.values()) counts[status]++;
  return html`<section class="overview card" aria-label=${t("groups.overview")}>
    <p><b class="numeric">${number(counts.eligible)}</b> ${t("groups.overview.text", { total: members.size, customer: customer.value.name })}</p>
    <${StatusBar} counts=${counts} /><${StatusLegend} counts=${counts} />
  </section>`;
}

function GroupCard({ group, monitor }) {
  const counts = monitor && countsOf(monitor);
  const isActive = group.status === "active";
  return html`<li class=${`card group-card ${isActive ? "" : "off"}`}>
    <div class="spread top">
      <h2><a href=${href(`/groups/${group.id}`)}>${group.name}</a></h2>
      ${!isActive && html`<${Badge} kind="disabled" icon="disabled">${t("groups.off")}<//>`}
      ${isActive && counts && monitor.total_members > 0 && !counts.eligible && html`<${Badge} kind="danger" icon="warning">${t("groups.exhausted")}<//>`}
    </div>
    <p class="faint about">${group.description ?? t(`strategy.${group.rotation_strategy}`)}</p>
    ${counts
      ? html`<p class="ready"><b class="numeric">${number(counts.eligible)}</b> <span>${t("monitor.of", { total: monitor.total_members })}</span>
            <span class="share numeric">${monitor.total_members ? percent(counts.eligible / monitor.total_members) : ""}</span></p>
          <${StatusBar} counts=${counts} /><${StatusLegend} counts=${counts} />
          <p class="back"><span class="faint">${t("monitor.nextBack")}</span> <${NextBack} at=${nextBack(monitor.members)} /></p>`
      : html`<div class="skeleton" aria-hidden="true"></div>`}
  </li>`;
}
