// What a policy means for a number that is flagged: how long it rests, and how its health comes back.
import { html } from "../../preact.js";
import { Badge, Card } from "../../components/layout.js";
import { duration } from "../../format.js";
import { t } from "../../i18n.js";
import { Health } from "../../live/parts.js";
import { healthAfter, rests } from "./policy.js";

const KINDS = ["user_report", "spam_label", "blocked"];
const FLAGS = 4;
const DAY = 86_400;

export function Consequences({ policy, isChanged }) {
  const widest = Math.max(...KINDS.flatMap((kind) => rests(policy, kind, FLAGS)));
  return html`<${Card} class="consequences" title=${t("meaning.title")} description=${t("meaning.hint")}
    actions=${isChanged && html`<${Badge} kind="cooldown">${t("meaning.unsaved")}<//>`}>
    <div class="stack">
      ${KINDS.map((kind) => html`<section key=${kind}>
        <h3>${t(`flag.${kind}`)}</h3>
        <table class="ladder">
          <thead><tr><th scope="col">${t("meaning.flag")}</th><th scope="col">${t("meaning.rests")}</th><th scope="col">${t("column.health")}</th></tr></thead>
          <tbody>
            ${rests(policy, kind, FLAGS).map((seconds, index) => html`<tr key=${index}>
              <th scope="row" class="numeric">${t("meaning.nth", { count: index + 1 })}</th>
              <td><span class="rest-bar" style=${{ width: `${Math.max(2, (Math.sqrt(seconds) / Math.sqrt(widest)) * 100)}%` }} aria-hidden="true"></span><span class="numeric">${duration(seconds)}</span></td>
              <td><${Health} score=${healthAfter(policy, kind, index + 1)} /></td>
            </tr>`)}
          </tbody>
        </table>
      </section>`)}
      <p class="soft">${t("meaning.fades", { first: healthAfter(policy, "spam_label", 1), later: healthAfter(policy, "spam_label", 1, 3 * DAY), week: healthAfter(policy, "spam_label", 1, 7 * DAY) })}</p>
    </div>
  <//>`;
}
