// Style sheets that only some pages need.
const added = new Set();

/** Adds one; returns when it applies. */
export function addStyles(url) {
  const address = String(url);
  if (added.has(address)) return undefined;
  added.add(address);
  return new Promise((resolve) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: address });
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}
