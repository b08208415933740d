// The pages that there are. Each is loaded when somebody goes there.
import { match } from "./router.js";
import { may } from "./session.js";

const pages = [];

/**
 * Adds a page.
 *
 *   path        "/groups/:id"; the component gets { params, query }
 *   title       key of its title, also in the navigation
 *   load        () => import("./pages/groups.js"), whose default export is the component
 *   role        who may see it: "viewer" (default), "operator", "admin"
 *   nav         { section: "monitor" | "manage" | "administer", icon, order }; without it there is no link
 *   parent      path of the page under which the navigation shows it
 *   dictionary  [part, (code) => import(`./manage/i18n/${code}.js`)], if its texts are not the shell's
 *   styles      URLs of style sheets, relative to the page's module: new URL("./x.css", import.meta.url)
 */
export function register(page) {
  pages.push({ role: "viewer", ...page });
}

/** The page of a path with its parameters; null if there is none. */
export function find(path) {
  for (const page of pages) {
    const params = match(page.path, path);
    if (params) return { page, params };
  }
  return null;
}

/** What the navigation shows to the person who is signed in: sections with their pages, in order. */
export function navigation() {
  const shown = pages.filter((page) => page.nav && may(page.role)).sort((a, b) => a.nav.order - b.nav.order);
  return ["monitor", "manage", "administer"]
    .map((section) => ({ section, pages: shown.filter((page) => page.nav.section === section) }))
    .filter((each) => each.pages.length);
}
