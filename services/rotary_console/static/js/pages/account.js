// A person's own account.
import { html, useEffect, useState } from "../preact.js";
import { post, put, remove } from "../api.js";
import { Button, Copy, Field, Segments, useAction } from "../components/controls.js";
import { Badge, Card, Failure, PageHeader } from "../components/layout.js";
import { Dialog, toast } from "../components/overlays.js";
import { LANGUAGES, language, setLanguage, t } from "../i18n.js";
import { loadSession, session } from "../session.js";
import { useStore } from "../store.js";
import { setTheme, theme, THEMES } from "../theme.js";

export default function Account() {
  const { user } = useStore(session);
  return html`<${PageHeader} title=${t("account.title")} description=${t("account.signedInAs", { name: user.name })} />
    <div class="columns">
      <div class="stack"><${Appearance} /><${Totp} isOn=${user.has_totp} /></div>
      <${Password} name=${user.name} />
    </div>`;
}

function Appearance() {
  const chosen = useStore(theme);
  const choose = async (code) => {
    await setLanguage(code);
    await put("/api/session/language", { language: code }).catch((error) => toast(error.message, "error"));
  };
  return html`<${Card} title=${t("account.appearance")}>
    <div class="stack">
      <div class="choice"><span>${t("account.language")}</span>
        <${Segments} label=${t("account.language")} value=${language.value} onValue=${choose} options=${Object.entries(LANGUAGES)} />
      </div>
      <div class="choice"><span>${t("account.theme")}</span>
        <${Segments} label=${t("account.theme")} value=${chosen} onValue=${setTheme} options=${THEMES.map((each) => [each, t(`theme.${each}`)])} />
      </div>
    </div>
  <//>`;
}

function Password({ name }) {
  const blank = { current: "", next: "" };
  const [given, setGiven] = useState(blank);
  const [run, isBusy, error] = useAction();
  const set = (field) => (value) => setGiven({ ...given, [field]: value });
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      await put("/api/session/password", { current: given.current, new: given.next });
      setGiven(blank);
      toast(t("account.password.done"));
    });
  };
  return html`<${Card} title=${t("account.password")} description=${t("account.password.hint")}>
    <form class="stack" onSubmit=${submit}>
      ${error && !hasFields(error) && html`<${Failure} error=${error} />`}
      <input class="unseen" type="text" autocomplete="username" value=${name} readonly tabindex="-1" aria-hidden="true" />
      <${Field} label=${t("account.password.current")} type="password" value=${given.current} onValue=${set("current")}
        error=${error?.field("current")} autocomplete="current-password" required />
      <${Field} label=${t("account.password.new")} type="password" value=${given.next} onValue=${set("next")}
        error=${error?.field("new")} autocomplete="new-password" required />
      <div><${Button} kind="primary" type="submit" busy=${isBusy}>${t("account.password.do")}<//></div>
    </form>
  <//>`;
}

const hasFields = (error) => Object.keys(error.errors).length > 0;

function Totp({ isOn }) {
  const [step, setStep] = useState(null);
  const close = () => setStep(null);
  const done = async (text) => {
    setStep(null);
    await loadSession();
    toast(t(text));
  };
  return html`<${Card} title=${t("totp.title")} description=${t("totp.hint")}
    actions=${html`<${Badge} kind=${isOn ? "eligible" : "neutral"} icon=${isOn ? "check" : undefined}>${t(isOn ? "totp.on" : "totp.off")}<//>`}>
    <div>
      ${isOn
        ? html`<${Button} onClick=${() => setStep("remove")}>${t("totp.remove")}<//>`
        : html`<${Button} onClick=${() => setStep("add")}>${t("totp.add")}<//>`}
    </div>
    ${step === "add" && html`<${AddTotp} onClose=${close} onDone=${() => done("totp.added")} />`}
    ${step === "remove" && html`<${RemoveTotp} onClose=${close} onDone=${() => done("totp.removed")} />`}
  <//>`;
}

function AddTotp({ onClose, onDone }) {
  const [made, setMade] = useState(null);
  const [code, setCode] = useState("");
  const [password, setPassword] = useState("");
  const [run, isBusy, error] = useAction();
  useEffect(() => {
    run(async () => {
      const [{ data }, { encode }] = await Promise.all([post("/api/session/totp"), import("../../vendor/uqr/uqr.js")]);
      setMade({ ...data, cells: encode(data.uri, { border: 2 }).data });
    });
  }, []);
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      await put("/api/session/totp", { code: code.replaceAll(" ", ""), password });
      await onDone();
    });
  };
  const footer = html`<${Button} onClick=${onClose}>${t("dialog.cancel")}<//>
    <${Button} kind="primary" type="submit" form="totp" busy=${isBusy} disabled=${!made}>${t("totp.confirm")}<//>`;
  return html`<${Dialog} title=${t("totp.add")} onClose=${onClose} footer=${footer}>
    <form class="stack" id="totp" onSubmit=${submit}>
      ${error && !error.field("code") && !error.field("password") && html`<${Failure} error=${error} />`}
      <p class="soft">${t("totp.scan")}</p>
      ${made &&
      html`<${QrCode} cells=${made.cells} label=${t("totp.qr")} />
        <p class="cluster"><code class="secret">${made.secret.replace(/(.{4})(?=.)/g, "$1 ")}</code><${Copy} text=${made.secret} />
          <a href=${made.uri}>${t("totp.open")}</a></p>`}
      <${Field} label=${t("signIn.code")} error=${error?.field("code")} value=${code} onValue=${setCode}
        inputmode="numeric" autocomplete="one-time-code" maxlength="10" required />
      <${Field} label=${t("signIn.password")} type="password" error=${error?.field("password")} value=${password}
        onValue=${setPassword} autocomplete="current-password" required />
    </form>
  <//>`;
}

/** Dark on light in every theme: a camera reads it. */
function QrCode({ cells, label }) {
  const path = cells.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  return html`<svg class="qr" viewBox=${`0 0 ${cells.length} ${cells.length}`} role="img" aria-label=${label} shape-rendering="crispEdges">
    <rect width="100%" height="100%" fill="#fff" /><path d=${path} fill="#000" />
  </svg>`;
}

function RemoveTotp({ onClose, onDone }) {
  const [password, setPassword] = useState("");
  const [run, isBusy, error] = useAction();
  const submit = (event) => {
    event.preventDefault();
    run(async () => {
      await remove("/api/session/totp", { body: { password } });
      await onDone();
    });
  };
  const footer = html`<${Button} onClick=${onClose}>${t("dialog.cancel")}<//>
    <${Button} kind="danger" type="submit" form="totp" busy=${isBusy}>${t("totp.remove")}<//>`;
  return html`<${Dialog} title=${t("totp.remove")} onClose=${onClose} footer=${footer}>
    <form class="stack" id="totp" onSubmit=${submit}>
      <p class="soft">${t("totp.remove.hint")}</p>
      <${Field} label=${t("signIn.password")} type="password" error=${error?.message} value=${password} onValue=${setPassword}
        autocomplete="current-password" required />
    </form>
  <//>`;
}
