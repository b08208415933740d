// Something that is shown once: a token, a password, a webhook's secret.
import { html, useRef, useState } from "../../preact.js";
import { Button } from "../../components/controls.js";
import { Notice } from "../../components/layout.js";
import { confirm, Dialog } from "../../components/overlays.js";
import { t } from "../../i18n.js";

/** `parts`: [[label, text], …], each with a button that copies it. Leaving without having copied anything asks first. */
export function Secret({ title, parts, children, onClose }) {
  const [copied, setCopied] = useState([]);
  const close = async () => {
    const isSure = copied.length || (await confirm({ title: t("secret.leave.title"), body: t("secret.leave.body"), action: t("secret.leave"), danger: true }));
    if (isSure) onClose();
  };
  const footer = html`<${Button} kind="primary" onClick=${close}>${t("secret.done")}<//>`;
  return html`<${Dialog} title=${title} onClose=${close} footer=${footer}>
    <${Notice} kind="warning"><p>${t("secret.once")}</p><//>
    ${parts.map(([label, text], index) => {
      const isCopied = copied.includes(index);
      return html`<${Shown} key=${label} ...${{ label, text, isCopied }} onCopied=${() => setCopied([...copied, index])} />`;
    })}
    ${children}
  <//>`;
}

function Shown({ label, text, isCopied, onCopied }) {
  const box = useRef(null);
  const copy = async () => {
    await copyText(text, box.current);
    onCopied();
  };
  return html`<div class="secret-part">
    <h3>${label}</h3>
    <div class="secret-line">
      <code class="secret" ref=${box} tabindex="0">${text}</code>
      <${Button} icon=${isCopied ? "check" : "copy"} onClick=${copy} aria-label=${t(isCopied ? "secret.copied" : "secret.copy", { label })}>
        <span aria-live="polite">${isCopied ? t("copy.done") : t("copy.do")}</span>
      <//>
    </div>
  </div>`;
}

/** Without https a page has no clipboard: there what is selected is copied. */
async function copyText(text, box) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  getSelection().selectAllChildren(box);
  document.execCommand("copy");
}
