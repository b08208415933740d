// Runs before anything else. A chosen theme and language are there from the first paint, and what every page begins with is
// asked for while the modules are still on their way: who is signed in, and a token for the customer that was shown last.
{
  const kept = (name) => {
    try {
      return localStorage.getItem(`rotary.${name}`);
    } catch {
      return null; // storage is switched off
    }
  };
  const root = document.documentElement;
  if (kept("theme")) root.dataset.theme = kept("theme");
  if (kept("language")) root.lang = kept("language");
  const options = { headers: { Accept: "application/json" }, credentials: "same-origin" };
  const early = { session: fetch("/api/session", options), customer: kept("customer"), token: null };
  if (early.customer) {
    const changing = { ...options, method: "POST", headers: { ...options.headers, "X-Rotary-Console": "1" } };
    early.token = fetch(`/api/customers/${encodeURIComponent(early.customer)}/read-token`, changing);
  }
  for (const asked of [early.session, early.token]) asked?.catch(() => {}); // whoever awaits it is told
  globalThis.rotaryEarly = early;
}
