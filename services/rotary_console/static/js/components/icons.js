// Drawn on a grid of 16, with the colour of the text around them.
import { html } from "../preact.js";

const PATHS = {
  pulse: "M1.5 8.5h3l2-5.5 3 10.5 2-5h3",
  history: "M2.5 8a5.5 5.5 0 1 0 1.8-4.1M2.5 2.5v3h3M8 5v3.2l2.2 1.3",
  groups: "M5.5 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM1.5 13.5c0-2.2 1.8-4 4-4s4 1.8 4 4M10.5 3a2.3 2.3 0 0 1 0 4.4M12 9.8c1.5.6 2.5 2 2.5 3.7",
  phone: "M5.2 2.5 6.6 5.6 5.3 6.9c.7 1.6 2.1 3 3.8 3.8l1.3-1.3 3.1 1.4v2.3c0 .5-.4.9-.9.9C7.1 13.6 2.4 8.9 2 3.4c0-.5.4-.9.9-.9Z",
  campaign: "M2.5 6.5v3h2.5l5 3.5v-10l-5 3.5ZM12.5 6a3 3 0 0 1 0 4",
  import: "M8 2v7.5M5 6.5l3 3 3-3M2.5 11v2.5h11V11",
  key: "M9.8 9a3.3 3.3 0 1 0-2.6-2.6L2.5 11.1v2.4h2.4v-1.7h1.7v-1.7h1.3ZM11.2 4.8v.01",
  webhook: "M6.3 6.2a3 3 0 1 1 3.8.3l2 3.6M4.8 8.2a3 3 0 1 0 2.6 4.3h4M12.5 9.8a2.4 2.4 0 1 1-1.9 3.9",
  dialer: "M4 3v.01M8 3v.01M12 3v.01M4 7v.01M8 7v.01M12 7v.01M4 11v.01M8 11v.01M12 11v.01M8 14.5v.01",
  users: "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM2.5 14c0-2.5 2.5-4.2 5.5-4.2s5.5 1.7 5.5 4.2",
  audit: "M4 1.5h6l3 3v10H4ZM10 1.5v3h3M6.5 8h4M6.5 11h4",
  settings: "M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M10.5 6a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3ZM5.5 13a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3Z",
  search: "M7 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10ZM10.7 10.7 14 14",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  check: "M3 8.5l3.5 3.5L13 4.5",
  plus: "M8 3v10M3 8h10",
  menu: "M2 4h12M2 8h12M2 12h12",
  up: "M8 13V3M4 7l4-4 4 4",
  down: "M8 3v10M4 9l4 4 4-4",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
  copy: "M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3",
  trash: "M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9h6.6l.7-9",
  edit: "M2.5 13.5l.7-3.2 7.6-7.6 2.5 2.5-7.6 7.6Z",
  wall: "M1.5 2.5h13v8.5h-13ZM5.5 14h5M8 11v3",
  help: "M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM6.2 6.3a1.8 1.8 0 1 1 2.7 1.6c-.6.3-.9.7-.9 1.3M8 11.4v.01",
  warning: "M8 2 1.5 13.5h13ZM8 6.5v3M8 11.5v.01",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z",
  leave: "M9.5 2.5h-6v11h6M6.5 8h8M11.5 5l3 3-3 3",
  more: "M3.5 8v.01M8 8v.01M12.5 8v.01",
  // The four statuses: shapes that differ without any colour.
  eligible: "M8 14a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM5.3 8.2l1.9 1.9 3.6-3.9",
  cooldown: "M8 14a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM8 4.8V8l2 1.5",
  quota_exceeded: "M3 13.5h10M4.5 13.5v-6M8 13.5v-11M11.5 13.5v-8.5M2.5 2.5h11",
  disabled: "M8 14a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM3.8 12.2l8.4-8.4",
};

/** An icon beside a text that says the same. With a `label` it stands alone, and screen readers read that. */
export function Icon({ name, label, size = 16 }) {
  return html`<svg
    class="icon" viewBox="0 0 16 16" width=${size} height=${size} fill="none" stroke="currentColor" stroke-width="1.5"
    stroke-linecap="round" stroke-linejoin="round" role=${label ? "img" : undefined} aria-label=${label}
    aria-hidden=${label ? undefined : "true"}
  ><path d=${PATHS[name]} /></svg>`;
}

/** Rotary's mark: the holes of a dial. */
export function Mark({ size = 28 }) {
  const holes = [[16, 6.6], [22.7, 9.4], [25.4, 16], [22.7, 22.6], [16, 25.4], [9.3, 22.6], [6.6, 16]];
  return html`<svg class="mark" viewBox="0 0 32 32" width=${size} height=${size} aria-hidden="true">
    <circle cx="16" cy="16" r="15" />
    <g>${holes.map(([x, y]) => html`<circle cx=${x} cy=${y} r="2.1" />`)}<circle cx="16" cy="16" r="4" /></g>
  </svg>`;
}
