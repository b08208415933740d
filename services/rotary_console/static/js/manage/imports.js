// Bulk import: a file is checked first, and applied as a whole when the difference is what was meant.
import { html, useRef, useState } from "../preact.js";
import { post } from "../api.js";
import { Button, useAction } from "../components/controls.js";
import { Icon } from "../components/icons.js";
import { Card, Failure, Notice, PageHeader } from "../components/layout.js";
import { confirm } from "../components/overlays.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { href, navigate } from "../router.js";
import { customer } from "../session.js";
import { Outcome, statusBadge, watchImport } from "./import_outcome.js";
import { asked, managed, newKey, useRead, withQuery } from "./kit/data.js";
import { When } from "./kit/parts.js";
import { ListPart } from "./kit/rows.js";

const MOST_BYTES = 32 * 2 ** 20;
const TYPES = { csv: "text/csv", yaml: "application/yaml", yml: "application/yaml", json: "application/json" };
const EXAMPLE = "number,display_name,carrier,daily_cap,group,rotation_strategy,weight\n+84901234567,Saigon Telesales,mobifone,200,HCM outbound,round_robin,1\n+84912345678,,,150,HCM outbound,,2\n";

const typeOf = (file) => TYPES[file.name.split(".").at(-1).toLowerCase()];

export default function Imports({ query }) {
  const read = useRead(withQuery(managed("/imports"), { page: query.page }));
  const columns = [
    { key: "id", label: t("imports.one"), header: true, cell: (row) => html`<a class="strong" href=${href(`/imports/${row.id}`)}>${t("imports.name", { id: String(row.id) })}</a><span class="sub">${t(row.dry_run ? "imports.dry" : "imports.real")}</span>` },
    { key: "status", label: t("column.status"), cell: (row) => statusBadge(row) },
    { key: "rows", label: t("imports.rows"), numeric: true, cell: (row) => number(row.rows_total) },
    { key: "changes", label: t("imports.changes"), numeric: true, cell: (row) => number(row.changes.reduce((sum, { count }) => sum + count, 0)) },
    { key: "errors", label: t("imports.errors"), numeric: true, cell: (row) => (row.error_count ? html`<b class="bad">${number(row.error_count)}</b>` : number(0)) },
    { key: "created", label: t("imports.when"), cell: (row) => html`<${When} at=${row.created_at} />` },
  ];
  return html`
    <${PageHeader} title=${t("nav.imports")} description=${t("imports.about")} />
    <div class="stack">
      <${Wizard} onDone=${read.reload} />
      <${Card} title=${t("imports.history")}>
        <${ListPart} read=${read} caption=${t("imports.history")} columns=${columns} none=${html`<p class="soft">${t("imports.none")}</p>`}
          onPage=${(page) => navigate("/imports", asked(query, { page }), { replace: true })} />
      <//>
    </div>`;
}

/** A file, what it would change, and what it changed. `step` is "file", "checked" or "applied". */
function Wizard({ onDone }) {
  const [file, setFile] = useState(null);
  const [told, setTold] = useState(null);
  const [step, setStep] = useState("file");
  const [run, isBusy, error] = useAction();
  const send = (isDry) =>
    run(async () => {
      setTold(null);
      const path = withQuery(managed("/imports"), { dry_run: isDry ? "true" : "" });
      const { data } = await post(path, file, { once: newKey(), headers: { "Content-Type": typeOf(file) } });
      setTold(data);
      setStep(isDry ? "checked" : "applied");
      try {
        await watchImport(data.id, setTold);
      } finally {
        onDone();
      }
    });
  const choose = (chosen) => {
    setFile(chosen);
    setTold(null);
    setStep("file");
  };
  const apply = async () => {
    const count = told.changes.reduce((sum, each) => sum + each.count, 0);
    const body = t("imports.apply.body", { count, customer: customer.value.name });
    if (await confirm({ title: t("imports.apply.title", { file: file.name }), body, action: t("imports.apply") })) await send(false);
  };
  const isGood = told?.status === "succeeded";
  const isEmpty = isGood && !told.changes.length;
  return html`<${Card} class="wizard">
    <${Steps} step=${step} />
    ${step === "file" || !told ? html`<${Pick} file=${file} onFile=${choose} />` : html`<p class="file-line"><${Icon} name="import" /><b>${file.name}</b> <span class="soft">${size(file)}</span></p>`}
    ${error && html`<${Failure} error=${error} />`}
    ${told && html`<${Outcome} told=${told} />`}
    ${isEmpty && step === "checked" && html`<${Notice}><p>${t("imports.nothing")}</p><//>`}
    <div class="cluster">
      ${step === "file" && html`<${Button} kind="primary" disabled=${!file || !typeOf(file) || file.size > MOST_BYTES} busy=${isBusy} onClick=${() => send(true)}>${t("imports.check")}<//>`}
      ${step === "checked" && isGood && !isEmpty && html`<${Button} kind="primary" icon="check" busy=${isBusy} onClick=${apply}>${t("imports.apply")}<//>`}
      ${step === "checked" && !isBusy && html`<${Button} onClick=${() => choose(null)}>${t("imports.another")}<//>`}
      ${step === "applied" && !isBusy && html`<${Button} icon="pulse" href=${href("/groups")}>${t("nav.live")}<//><${Button} onClick=${() => choose(null)}>${t("imports.another")}<//>`}
      ${step === "file" && html`<a class="button quiet" download="caller-ids.csv" href=${`data:text/csv;charset=utf-8,${encodeURIComponent(EXAMPLE)}`}>${t("imports.example")}</a>`}
    </div>
  <//>`;
}

function Steps({ step }) {
  const names = ["file", "checked", "applied"];
  const at = names.indexOf(step);
  return html`<ol class="steps">
    ${names.map((each, index) => html`<li key=${each} class=${index < at ? "done" : index === at ? "here" : ""} aria-current=${index === at ? "step" : undefined}>
      <span class="dot" aria-hidden="true">${index < at ? html`<${Icon} name="check" size=${12} />` : index + 1}</span>${t(`imports.step.${each}`)}
    </li>`)}
  </ol>`;
}

function Pick({ file, onFile }) {
  const input = useRef(null);
  const [isOver, setOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const [dropped] = event.dataTransfer.files;
    if (dropped) onFile(dropped);
  };
  const over = (event) => {
    event.preventDefault();
    setOver(true);
  };
  const problem = file && (!typeOf(file) ? t("imports.type") : file.size > MOST_BYTES ? t("imports.large") : null);
  return html`<div class=${`drop-zone ${isOver ? "over" : ""}`} onDragOver=${over} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <${Icon} name="import" size=${28} />
    <p>${file ? html`<b>${file.name}</b> <span class="soft">${size(file)}</span>` : t("imports.drop")}</p>
    <${Button} onClick=${() => input.current.click()}>${t(file ? "imports.otherFile" : "imports.choose")}<//>
    <input ref=${input} type="file" class="unseen" tabindex="-1" aria-label=${t("imports.file")} accept=".csv,.yaml,.yml,.json" onChange=${(event) => event.currentTarget.files[0] && onFile(event.currentTarget.files[0])} />
    ${problem ? html`<p class="error" role="alert"><${Icon} name="warning" />${problem}</p>` : html`<p class="hint">${t("imports.form")}</p>`}
  </div>`;
}

function size({ size: bytes }) {
  return bytes < 2 ** 20 ? t("imports.kib", { count: Math.ceil(bytes / 1024) }) : t("imports.mib", { count: Math.ceil(bytes / 2 ** 20) });
}
