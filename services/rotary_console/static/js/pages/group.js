// One group, live.
import { html, useCallback, useEffect, useMemo, useState } from "../preact.js";
import { tick } from "../clock.js";
import { Button, Search, Select } from "../components/controls.js";
import { Icon } from "../components/icons.js";
import { lazy } from "../components/lazy.js";
import { EmptyState, Loading, PageHeader, Time } from "../components/layout.js";
import { clock, nextMidnight, number, percent } from "../format.js";
import { t } from "../i18n.js";
import { CARRIERS, STATUSES } from "../live/arrange.js";
import { nextBack } from "../live/group_state.js";
import { LiveGroup } from "../live/live_group.js";
import { MemberTable } from "../live/member_table.js";
import { countsOf, Freshness, NextBack, StaleNotice, StatusBar } from "../live/parts.js";
import { Strip } from "../live/strip.js";
import { href, navigate } from "../router.js";
import { customer, readApi } from "../session.js";
import { useStore } from "../store.js";

const Explain = lazy(() => import("../live/explain.js"), "Explain");
const Wall = lazy(() => import("../live/wall.js"), "Wall");

export default function Group({ params, query }) {
  const live = useLive(params.id);
  useStore(live.shown);
  const status = useStore(live.status);
  const { counts } = live.state;
  useEffect(() => {
    if (counts) document.title = `${counts.group_name} · Rotary`;
  }, [counts?.group_name]);
  if (status.kind === "ended") return html`<${Gone} reason=${status.reason} />`;
  const isWall = query.wall === "1";
  if (isWall && counts) return html`<${Wall} live=${live} status=${status} id=${params.id} />`;
  const retry = html`<${Button} onClick=${() => live.retry()}>${t("error.retry")}<//>`;
  const actions = html`
    <${Button} icon="groups" href=${href(`/caller-id-groups/${params.id}`)}>${t("monitor.manage")}<//>
    <${Button} icon="history" href=${href(`/groups/${params.id}/history`)}>${t("history.title")}<//>
    <${Button} icon="wall" href=${href(`/groups/${params.id}`, { wall: 1 })}>${t("wall.open")}<//>`;
  return html`<div class="live">
    <${PageHeader}
      title=${counts?.group_name ?? t("nav.live")} trail=${[[href("/groups"), t("nav.live")]]} actions=${actions}
      beside=${html`<${Freshness} status=${status} />`}
    />
    <${StaleNotice} status=${status} onRetry=${retry} />
    ${counts
      ? html`<${Summary} live=${live} isCurrent=${status.kind === "live"} /><${Members} live=${live} id=${params.id} query=${query} />`
      : html`<${Loading} />`}
  </div>`;
}

/** The group, followed while the page is open. */
function useLive(id) {
  const live = useMemo(() => new LiveGroup(readApi(), id), [id]);
  useEffect(() => {
    live.start();
    return () => live.stop();
  }, [live]);
  return live;
}

function Gone({ reason }) {
  return html`<${PageHeader} title=${t("nav.live")} trail=${[[href("/groups"), t("nav.live")]]} />
    <${EmptyState} icon="groups" title=${t("monitor.gone")} action=${html`<${Button} href=${href("/groups")}>${t("frame.home")}<//>`}>
      ${t("monitor.gone.hint")} ${reason && html`<span class="faint">${reason}</span>`}
    <//>`;
}

function Summary({ live, isCurrent }) {
  const { counts, members, version } = live.state;
  const shares = countsOf(counts);
  const back = useMemo(() => nextBack(members.values()), [version]);
  const total = counts.total_members;
  return html`<section class="summary" aria-label=${t("monitor.summary")}>
    <div class="card tiles">
      <div class="tile eligible">
        <h2><${Icon} name="eligible" />${t("status.eligible")}</h2>
        <p class="big numeric">${number(shares.eligible)}<span class="of"> ${t("monitor.of", { total })}</span></p>
        <p class="note">${total ? t("monitor.share", { share: percent(shares.eligible / total) }) : ""}</p>
      </div>
      <div class="tile cooldown">
        <h2><${Icon} name="cooldown" />${t("status.cooldown")}</h2>
        <p class="big numeric">${number(shares.cooldown)}</p>
        <p class="note"><span class="faint">${t("monitor.nextBack")}</span> <${NextBack} at=${back} /></p>
      </div>
      <div class="tile quota_exceeded">
        <h2><${Icon} name="quota_exceeded" />${t("status.quota_exceeded")}</h2>
        <p class="big numeric">${number(shares.quota_exceeded)}</p>
        <p class="note faint">${t("monitor.quota.hint")} <${Midnight} /></p>
      </div>
      <div class="tile disabled">
        <h2><${Icon} name="disabled" />${t("status.disabled")}</h2>
        <p class="big numeric">${number(shares.disabled)}</p>
      </div>
      <${StatusBar} counts=${shares} />
    </div>
    <div class="card chart"><${Strip} counts=${isCurrent ? shares : null} total=${total} /></div>
  </section>`;
}

/** When the day of the customer ends, and calls are counted anew. */
function Midnight() {
  const { timezone } = useStore(customer);
  const at = nextMidnight(timezone, useStore(tick));
  return html`<${Time} at=${at} text=${clock(at, at)} />`;
}

function Members({ live, id, query }) {
  const [explained, setExplained] = useState(null);
  const [shown, setShown] = useState(0);
  const filter = useMemo(
    () => ({
      statuses: new Set((query.status ?? "").split(",").filter((each) => STATUSES.includes(each))),
      carrier: query.carrier ?? "",
      search: query.search ?? "",
    }),
    [query.status, query.carrier, query.search],
  );
  const ask = (changed) => navigate(`/groups/${id}`, { ...query, ...changed }, { replace: true });
  const explain = useCallback((member) => setExplained(member), []);
  return html`<section class="card table-card">
    <div class="toolbar">
      <${Search} label=${t("members.search")} value=${filter.search} onValue=${(search) => ask({ search })} />
      <${StatusFilter} counts=${countsOf(live.state.counts)} chosen=${filter.statuses} onChoose=${(status) => ask({ status })} />
      <${Select}
        label=${t("column.carrier")} value=${filter.carrier} onValue=${(carrier) => ask({ carrier })}
        options=${[["", t("members.allCarriers")], ...CARRIERS.map((each) => [each, t(`carrier.${each}`)])]}
      />
      <p class="faint numeric" role="status">${t("members.shown", { count: shown, total: live.state.members.size })}</p>
    </div>
    <${MemberTable} live=${live} filter=${filter} onExplain=${explain} onShown=${setShown} />
    ${explained !== null && html`<${Explain} live=${live} groupId=${id} id=${explained} onClose=${() => setExplained(null)} />`}
  </section>`;
}

/** Statuses to press, each with how many there are. None pressed: all. */
function StatusFilter({ counts, chosen, onChoose }) {
  const toggle = (status) => {
    const next = STATUSES.filter((each) => (each === status ? !chosen.has(each) : chosen.has(each)));
    onChoose(next.length === STATUSES.length ? "" : next.join(","));
  };
  return html`<div class="chips" role="group" aria-label=${t("members.filter")}>
    ${STATUSES.map(
      (status) => html`<button
        type="button" key=${status} class=${`chip ${status}`} aria-pressed=${String(chosen.has(status))} onClick=${() => toggle(status)}
      ><${Icon} name=${status} size=${14} />${t(`status.${status}`)} <b class="numeric">${number(counts[status])}</b></button>`,
    )}
  </div>`;
}
