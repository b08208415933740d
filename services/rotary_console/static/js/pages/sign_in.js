// Signing in: name and password, the code of an authenticator where one is set up, or the company's own provider.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../preact.js";
import { get, post, put } from "../api.js";
import { Button, Field, Select, useAction } from "../components/controls.js";
import { Mark } from "../components/icons.js";
import { Notice } from "../components/layout.js";
import { has, LANGUAGES, language, setLanguage, t } from "../i18n.js";
import { route } from "../router.js";
import { open } from "../session.js";

/** The language of somebody who never chose one. */
const UNCHOSEN = "en";
/** What was chosen on this page. */
let picked = null;

export function SignIn() {
  const [oidc, setOidc] = useState(null);
  useEffect(() => {
    document.title = `${t("signIn.title")} · Rotary`;
    get("/api/sign-in", { quiet: true }).then(({ data }) => setOidc(data.oidc), () => {}); // the password is still there
  }, []);
  return html`<main class="sign-in">
    <div class="box">
      <div class="brand"><${Mark} size=${40} /><h1>${t("signIn.title")}</h1></div>
      <${Form} />
      ${oidc && html`<div class="or"><span>${t("signIn.or")}</span></div>
        <${Button} class="whole" href=${oidc.url}>${t("signIn.with", { name: oidc.name })}<//>`}
    </div>
    <${Select} label=${t("account.language")} value=${language.value} onValue=${pick} options=${Object.entries(LANGUAGES)} />
  </main>`;
}

function pick(code) {
  picked = code;
  setLanguage(code);
}

/** Goes on as the person, in the language in which they signed in, unless they have chosen another one for good. */
async function enter(found) {
  const { user } = found;
  const wanted = picked ?? (user.language === UNCHOSEN ? language.value : user.language);
  if (wanted !== user.language) {
    user.language = wanted;
    await put("/api/session/language", { language: wanted }).catch(() => {}); // it holds until the page is loaded again
  }
  await open(found);
}

function Form() {
  const [given, setGiven] = useState({ name: "", password: "", code: "" });
  const [asksCode, setAsksCode] = useState(false);
  const [run, isBusy, error] = useAction();
  const form = useRef(null);
  const refused = providerError(route.value.query.error);
  const set = (name) => (value) => setGiven({ ...given, [name]: value });
  useLayoutEffect(() => form.current.elements[asksCode ? "code" : "name"].focus(), [asksCode]);
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      try {
        const { name, password, code } = given;
        const { data } = await post("/api/session", asksCode ? { name, password, code } : { name, password }, { quiet: true });
        await enter(data);
      } catch (failure) {
        if (!failure.body?.code_required || asksCode) throw failure;
        setAsksCode(true);
      }
    });
  };
  return html`<form class="stack" ref=${form} onSubmit=${submit}>
    ${error ? html`<${Notice} kind="error"><p>${why(error)}</p><//>` : refused && html`<${Notice} kind="error"><p>${refused}</p><//>`}
    ${asksCode
      ? html`<${Field}
          label=${t("signIn.code")} hint=${t("signIn.code.hint")} name="code" value=${given.code} onValue=${set("code")}
          inputmode="numeric" autocomplete="one-time-code" maxlength="10" required
        />`
      : html`<${Field} label=${t("signIn.name")} name="name" value=${given.name} onValue=${set("name")}
            autocomplete="username" autocapitalize="none" spellcheck="false" required />
          <${Field} label=${t("signIn.password")} name="password" type="password" value=${given.password} onValue=${set("password")}
            autocomplete="current-password" required />`}
    <${Button} kind="primary" class="whole" type="submit" busy=${isBusy}>${t("signIn.do")}<//>
    ${asksCode && html`<${Button} kind="quiet" class="whole" onClick=${() => setAsksCode(false)}>${t("signIn.back")}<//>`}
  </form>`;
}

/** What the way through the sign-in provider ended with, if it failed. */
function providerError(code) {
  return code && t(has(`signIn.${code}`) ? `signIn.${code}` : "signIn.sso_refused");
}

function why(error) {
  if (error.status === 401) return t("signIn.wrong");
  if (error.status === 429) return t("signIn.throttled", { count: error.retryAfter ?? 60 });
  return error.message;
}
