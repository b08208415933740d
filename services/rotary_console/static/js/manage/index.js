// Registers the management pages.

const dictionary = ["manage", (code) => import(`./i18n/${code}.js`)];
const styles = [new URL("../../css/manage.css", import.meta.url)];

/** [path, title, role, load, { section, icon, order } or the path of the page that it is under]. */
const PAGES = [
  ["/caller-ids", "nav.callerIds", "viewer", () => import("./caller_ids.js"), { section: "manage", icon: "phone", order: 10 }],
  ["/caller-id-groups", "nav.groups", "viewer", () => import("./groups.js"), { section: "manage", icon: "groups", order: 20 }],
  ["/caller-id-groups/:id", "nav.groups", "viewer", () => import("./group.js"), "/caller-id-groups"],
  ["/campaigns", "nav.campaigns", "viewer", () => import("./campaigns.js"), { section: "manage", icon: "campaign", order: 30 }],
  ["/campaigns/:id", "nav.campaigns", "viewer", () => import("./campaign.js"), "/campaigns"],
  ["/imports", "nav.imports", "admin", () => import("./imports.js"), { section: "manage", icon: "import", order: 40 }],
  ["/imports/:id", "nav.imports", "admin", () => import("./import.js"), "/imports"],
  ["/tokens", "nav.tokens", "admin", () => import("./administer/tokens.js"), { section: "administer", icon: "key", order: 10 }],
  ["/webhooks", "nav.webhooks", "operator", () => import("./administer/webhooks.js"), { section: "administer", icon: "webhook", order: 20 }],
  ["/webhooks/:id", "nav.webhooks", "operator", () => import("./administer/webhook.js"), "/webhooks"],
  ["/dialers", "nav.dialers", "admin", () => import("./administer/dialers.js"), { section: "administer", icon: "dialer", order: 30 }],
  ["/users", "nav.users", "admin", () => import("./administer/users.js"), { section: "administer", icon: "users", order: 40 }],
  ["/settings", "nav.customer", "admin", () => import("./administer/settings.js"), { section: "administer", icon: "settings", order: 50 }],
  ["/audit", "nav.audit", "operator", () => import("./administer/audit.js"), { section: "administer", icon: "audit", order: 60 }],
];

export function registerManagePages(register) {
  for (const [path, title, role, load, place] of PAGES) {
    const where = typeof place === "string" ? { parent: place } : { nav: place };
    register({ path, title, role, load, ...where, dictionary, styles });
  }
}
