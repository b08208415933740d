// The page that the address names, after its #: #/groups/3?status=cooldown
import { Store } from "./store.js";

/** Where we are: { path, query }. */
export const route = new Store(parse(location.hash));

addEventListener("hashchange", () => route.set(parse(location.hash)));

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?");
  return { path: path.startsWith("/") ? path : "/", query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The value of an `href`. Empty values of the query are left out. */
export function href(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#${path}${text && `?${text}`}`;
}

/** Goes to a page. `replace` leaves no trace in the browser's history. */
export function navigate(path, query = {}, { replace = false } = {}) {
  if (!replace) {
    location.hash = href(path, query);
    return;
  }
  history.replaceState(null, "", href(path, query));
  route.set(parse(location.hash));
}

/** The parameters of a path that fits a pattern such as /groups/:id; null if it does not. */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":") && given[index]) params[part.slice(1)] = decodeURIComponent(given[index]);
    else if (part !== given[index]) return null;
  }
  return params;
}
