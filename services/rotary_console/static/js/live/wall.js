// A group or all groups on a wall: large, from a distance, without anything to press.
import { html, useMemo } from "../preact.js";
import { Button } from "../components/controls.js";
import { Mark } from "../components/icons.js";
import { clock, number } from "../format.js";
import { t } from "../i18n.js";
import { tick } from "../clock.js";
import { href } from "../router.js";
import { customer } from "../session.js";
import { useStore } from "../store.js";
import { nextBack } from "./group_state.js";
import { countsOf, Countdown, Freshness, NextBack, StaleNotice, StatusBar, StatusLegend } from "./parts.js";
import { Strip } from "./strip.js";

const RESTING_SHOWN = 8;

/** One group. */
export function Wall({ live, status, id }) {
  const { counts, members, version } = live.state;
  const shares = countsOf(counts);
  const resting = useMemo(() => {
    const found = [...members.values()].filter((member) => member.status === "cooldown");
    return found.sort((a, b) => Date.parse(a.cooldown_until) - Date.parse(b.cooldown_until)).slice(0, RESTING_SHOWN);
  }, [version]);
  return html`<div class="wall-page">
    <${WallHeader} title=${counts.group_name} status=${status} back=${href(`/groups/${id}`)} />
    <${StaleNotice} status=${status} />
    <div class="wall-group">
      <section class="card">
        <${Eligible} count=${shares.eligible} total=${counts.total_members} />
        <${StatusBar} counts=${shares} /><${StatusLegend} counts=${shares} />
      </section>
      <section class="card">
        <h2>${t("monitor.nextBack")}</h2>
        <p class="wall-next"><${NextBack} at=${nextBack(members.values())} /></p>
        <ul class="resting">
          ${resting.map((each) => html`<li key=${each.caller_id_id}><span class="numeric">${each.number}</span><${Countdown} at=${each.cooldown_until} /></li>`)}
        </ul>
      </section>
      <section class="card wide"><${Strip} counts=${status.kind === "live" ? shares : null} total=${counts.total_members} isLarge=${true} /></section>
    </div>
  </div>`;
}

function WallHeader({ title, status, back }) {
  return html`<header class="wall-header">
    <${Mark} size=${36} /><h1 tabindex="-1">${title}</h1><${Freshness} status=${status} />
    <span class="wall-clock numeric">${clock(useStore(tick))}</span>
    <${Button} kind="quiet" icon="close" label=${t("wall.close")} href=${back} />
  </header>`;
}

function Eligible({ count, total }) {
  return html`<p class=${`wall-eligible ${count ? "" : "zero"}`}>
    <b class="numeric">${number(count)}</b><span>${t("wall.eligible", { total })}</span>
  </p>`;
}

/** All groups: what is shown of each, in its order. */
export function GroupsWall({ shown, status }) {
  return html`<div class="wall-page">
    <${WallHeader} title=${customer.value.name} status=${status} back=${href("/groups")} />
    <${StaleNotice} status=${status} />
    <ul class="group-cards">
      ${shown.map(({ group, monitor }) => {
        const counts = monitor && countsOf(monitor);
        return html`<li class=${`card group-card ${group.status === "active" ? "" : "off"}`} key=${group.id}>
          <h2>${group.name}</h2>
          ${counts &&
          html`<${Eligible} count=${counts.eligible} total=${monitor.total_members} /><${StatusBar} counts=${counts} /><${StatusLegend} counts=${counts} />
            <p class="back"><span class="faint">${t("monitor.nextBack")}</span> <${NextBack} at=${nextBack(monitor.members)} /></p>`}
        </li>`;
      })}
    </ul>
  </div>`;
}
