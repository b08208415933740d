// The whole: a page inside the frame, or the sign-in page.
import { html, useEffect, useState } from "./preact.js";
import { Failure } from "./components/layout.js";
import { lazy } from "./components/lazy.js";
import { Overlays } from "./components/overlays.js";
import { Frame } from "./frame.js";
import { language } from "./i18n.js";
import { loadSession, session } from "./session.js";
import { useStore } from "./store.js";

const SignIn = lazy(() => import("./pages/sign_in.js"), "SignIn");

/** `problem` is why it is not known who is signed in, if it is not. */
export function App({ problem }) {
  const shown = useStore(language);
  const found = useStore(session);
  const [error, setError] = useState(problem instanceof Error ? problem : null);
  useEffect(() => document.body.classList.toggle("signed-in", Boolean(found)), [found]);
  if (found === undefined && error) {
    const retry = () => loadSession().then(() => setError(null), setError);
    return html`<main class="alone"><${Failure} error=${error} onRetry=${retry} /></main>`;
  }
  // A text may be anywhere: with another language everything is made anew.
  return html`<div class="root" key=${shown}>${found ? html`<${Frame} />` : html`<${SignIn} />`}<${Overlays} /></div>`;
}
