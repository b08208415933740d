// Starts the console.
import { html, render } from "./preact.js";
import { App } from "./app.js";
import { preferredLanguage, setLanguage } from "./i18n.js";
import { register } from "./pages.js";
import { loadSession } from "./session.js";
import { registerManagePages } from "./manage/index.js";

register({
  path: "/groups",
  title: "nav.live",
  load: () => import("./pages/groups.js"),
  nav: { section: "monitor", icon: "pulse", order: 1 },
});
register({ path: "/groups/:id", title: "nav.live", load: () => import("./pages/group.js"), parent: "/groups" });
register({ path: "/groups/:id/history", title: "history.title", load: () => import("./pages/history.js"), parent: "/groups" });
register({
  path: "/groups/:id/history/:caller",
  title: "history.title",
  load: () => import("./pages/history.js"),
  parent: "/groups",
});
register({ path: "/account", title: "account.title", load: () => import("./pages/account.js") });
registerManagePages(register);

async function start() {
  const shown = setLanguage(preferredLanguage());
  const asked = loadSession().catch((error) => error);
  await shown;
  render(html`<${App} problem=${await asked} />`, document.getElementById("app"));
}

start();
