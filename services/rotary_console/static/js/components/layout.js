// What pages are made of.
import { html } from "../preact.js";
import { t } from "../i18n.js";
import { moment, utc } from "../format.js";
import { Button } from "./controls.js";
import { Icon } from "./icons.js";

/** The top of a page. `trail`: [[href, text], …] leads back; `actions` are buttons. The heading gets the focus. */
export function PageHeader({ title, description, trail = [], actions, beside }) {
  return html`<header class="page-header">
    <div>
      ${trail.length > 0 &&
      html`<nav class="trail" aria-label=${t("trail.label")}>
        ${trail.map(([target, text]) => html`<a href=${target}>${text}</a><span aria-hidden="true">/</span>`)}
      </nav>`}
      <div class="title"><h1 tabindex="-1">${title}</h1>${beside}</div>
      ${description && html`<p class="soft">${description}</p>`}
    </div>
    ${actions && html`<div class="cluster">${actions}</div>`}
  </header>`;
}

/** A part of a page. */
export function Card({ title, description, actions, class: extra = "", children }) {
  return html`<section class=${`card ${extra}`}>
    ${title &&
    html`<header class="spread">
      <div><h2>${title}</h2>${description && html`<p class="soft">${description}</p>`}</div>
      ${actions && html`<div class="cluster">${actions}</div>`}
    </header>`}
    ${children}
  </section>`;
}

/** Where there is nothing yet, why, and what to do. `isPage` if that is all there is: its title is the page's. */
export function EmptyState({ icon = "groups", title, children, action, isPage = false }) {
  return html`<div class="empty">
    <${Icon} name=${icon} size=${28} />
    ${isPage ? html`<h1 tabindex="-1">${title}</h1>` : html`<h2>${title}</h2>`}
    ${children && html`<p class="soft">${children}</p>`}
    ${action}
  </div>`;
}

/** A message that stays. kind: "info", "warning", "error". */
export function Notice({ kind = "info", children, action }) {
  return html`<div class=${`notice ${kind}`} role=${kind === "error" ? "alert" : "status"}>
    <${Icon} name=${kind === "info" ? "help" : "warning"} />
    <div>${children}</div>
    ${action}
  </div>`;
}

/** What went wrong, in its own words, with the fields that were wrong, and the request's id for whoever looks for it in the logs. */
export function Failure({ error, onRetry }) {
  const action = onRetry && html`<${Button} onClick=${onRetry}>${t("error.retry")}<//>`;
  return html`<${Notice} kind="error" action=${action}>
    <p>${error.message}</p>
    ${Object.entries(error.errors ?? {}).map(([name, texts]) => html`<p key=${name}><code>${name}</code> ${[texts].flat().join(" ")}</p>`)}
    ${error.requestId && html`<p class="faint">${t("error.request")} <code>${error.requestId}</code></p>`}
  <//>`;
}

/** While something is on its way. */
export function Loading() {
  return html`<div class="loading" role="status"><span class="spinner" aria-hidden="true"></span><span>${t("loading.text")}</span></div>`;
}

/** kind: "eligible", "cooldown", "quota_exceeded", "disabled", "neutral", "danger". The text says it, too. */
export function Badge({ kind = "neutral", icon, children }) {
  return html`<span class=${`badge ${kind}`}>${icon && html`<${Icon} name=${icon} size=${14} />`}${children}</span>`;
}

/** A moment in the viewer's zone; hovering tells it in UTC. `text` replaces how it is written. */
export function Time({ at, text }) {
  return html`<time datetime=${new Date(at).toISOString()} title=${utc(at)}>${text ?? moment(at)}</time>`;
}
