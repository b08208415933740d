// What is around every page: the navigation, who is signed in, and where the page goes.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { Button, Select } from "./components/controls.js";
import { Icon, Mark } from "./components/icons.js";
import { EmptyState, Failure, Loading } from "./components/layout.js";
import { toast } from "./components/overlays.js";
import { addDictionaries, t } from "./i18n.js";
import { find, navigation } from "./pages.js";
import { href, navigate, route } from "./router.js";
import { choose, customer, may, session, signOut } from "./session.js";
import { useStore } from "./store.js";
import { addStyles } from "./styles.js";
import { isDark, repaint, setTheme } from "./theme.js";

export const HOME = "/groups";

export function Frame() {
  const { path, query } = useStore(route);
  const chosen = useStore(customer);
  const [isOpen, setOpen] = useState(false);
  const main = useRef(null);
  useEffect(() => {
    if (path === "/" || path === "/sign-in") navigate(HOME, {}, { replace: true });
    setOpen(false);
  }, [path]);
  const isWall = query.wall === "1";
  useWall(isWall);
  return html`<div class=${`frame ${isWall ? "wall" : ""}`}>
    <button type="button" class="skip" onClick=${() => main.current.focus()}>${t("frame.skip")}</button>
    <header class="bar">
      <${Button} kind="quiet" icon="menu" label=${t("frame.menu")} aria-expanded=${String(isOpen)} onClick=${() => setOpen(!isOpen)} />
      <${Brand} />
    </header>
    <${Sidebar} path=${path} isOpen=${isOpen} onClose=${() => setOpen(false)} />
    <main ref=${main} tabindex="-1">
      ${chosen
        ? html`<${Page} key=${chosen.id} path=${path} query=${query} />`
        : html`<${EmptyState} isPage icon="users" title=${t("frame.noCustomer")}>${t("frame.noCustomer.hint")}<//>`}
    </main>
  </div>`;
}

function Brand() {
  return html`<a class="brand" href=${href(HOME)}><${Mark} /><span>Rotary</span></a>`;
}

function Sidebar({ path, isOpen, onClose }) {
  const { customers } = useStore(session);
  const chosen = useStore(customer);
  const current = find(path)?.page;
  const escape = (event) => event.key === "Escape" && onClose();
  const change = (id) => {
    choose(id);
    navigate(HOME);
  };
  return html`<aside class=${`sidebar ${isOpen ? "open" : ""}`} onKeyDown=${escape}>
    <${Brand} />
    ${customers.length > 1 &&
    html`<${Select}
      label=${t("frame.customer")} value=${String(chosen?.id)} onValue=${change}
      options=${customers.map(({ id, name }) => [String(id), name])}
    />`}
    ${customers.length === 1 && html`<p class="customer">${chosen.name}</p>`}
    <nav aria-label=${t("frame.navigation")}>
      ${navigation().map(({ section, pages }) => html`<${Section} key=${section} ...${{ section, pages, current }} />`)}
    </nav>
    <${Person} />
  </aside>`;
}

function Section({ section, pages, current }) {
  return html`<section>
    <h2>${t(`nav.section.${section}`)}</h2>
    <ul>
      ${pages.map(({ path, title, nav }) => {
        const isHere = path === current?.path || path === current?.parent;
        return html`<li><a href=${href(path)} aria-current=${isHere ? "page" : undefined}><${Icon} name=${nav.icon} />${t(title)}</a></li>`;
      })}
    </ul>
  </section>`;
}

function Person() {
  const { user } = useStore(session);
  const chosen = useStore(customer);
  useStore(repaint);
  const leave = () => signOut().catch((error) => toast(error.message, "error"));
  return html`<div class="person">
    <a href=${href("/account")}>
      <span class="avatar" aria-hidden="true">${[...(user.display_name || user.name)][0].toUpperCase()}</span>
      <span class="who">
        <span class="name">${user.display_name || user.name}</span>
        ${chosen && html`<span class="faint">${t(`role.${chosen.role}`)}</span>`}
      </span>
    </a>
    <${Button} kind="quiet" icon=${isDark() ? "sun" : "moon"} label=${t(isDark() ? "theme.toLight" : "theme.toDark")}
      onClick=${() => setTheme(isDark() ? "light" : "dark")} />
    <${Button} kind="quiet" icon="leave" label=${t("frame.signOut")} onClick=${leave} />
  </div>`;
}

/** Loads the page of a path and shows it; a new page gets the focus, and the window its title. */
function Page({ path, query }) {
  const found = find(path);
  const [loaded, setLoaded] = useState({ page: null, component: null, error: null });
  const host = useRef(null);
  const wanted = useRef(null);
  wanted.current = found?.page;
  // Whoever has gone on meanwhile is not taken back.
  const keep = (next) => wanted.current === next.page && setLoaded(next);
  const load = (page) =>
    fetched(page).then(
      (component) => keep({ page, component, error: null }),
      (error) => keep({ page, component: null, error }),
    );
  useEffect(() => {
    if (found && loaded.page !== found.page) load(found.page);
  }, [found?.page]);
  const isReady = found && loaded.page === found.page;
  useLayoutEffect(() => {
    if (!found) document.title = "Rotary";
    else if (isReady) {
      document.title = `${t(found.page.title)} · Rotary`;
      takeFocus(host.current);
    }
  }, [path, isReady]);
  if (!found) return html`<${EmptyState} isPage icon="help" title=${t("frame.notFound")}><a href=${href(HOME)}>${t("frame.home")}</a><//>`;
  if (!may(found.page.role)) return html`<${EmptyState} isPage icon="key" title=${t("frame.notAllowed")}>${t("frame.notAllowed.hint")}<//>`;
  if (!isReady) return html`<${Loading} />`;
  if (loaded.error) return html`<${Failure} error=${loaded.error} onRetry=${() => load(found.page)} />`;
  return html`<div class="page" ref=${host}><${loaded.component} key=${path} params=${found.params} query=${query} /></div>`;
}

async function fetched({ load, dictionary, styles = [] }) {
  const [module] = await Promise.all([load(), dictionary && addDictionaries(...dictionary), ...styles.map(addStyles)]);
  return module.default;
}

let isFirst = true;

/** Not for the first page: there the reader begins at the top by itself. */
function takeFocus(host) {
  if (!isFirst) {
    scrollTo(0, 0);
    host?.querySelector("h1")?.focus({ preventScroll: true });
  }
  isFirst = false;
}

/** Keeps a wall's screen on, and leaves the wall with Escape. */
function useWall(isWall) {
  useEffect(() => {
    if (!isWall) return undefined;
    let lock = null;
    const keepOn = () => document.hidden || navigator.wakeLock?.request("screen").then((held) => (lock = held), () => {});
    const leave = (event) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) navigate(route.value.path);
    };
    keepOn();
    document.addEventListener("visibilitychange", keepOn);
    document.addEventListener("keydown", leave);
    return () => {
      document.removeEventListener("visibilitychange", keepOn);
      document.removeEventListener("keydown", leave);
      lock?.release();
    };
  }, [isWall]);
}
