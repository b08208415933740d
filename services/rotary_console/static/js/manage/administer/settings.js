// The customer: its name, its time zone, and its policy with what follows from it.
import { html, useMemo } from "../../preact.js";
import { put } from "../../api.js";
import { Button, Field } from "../../components/controls.js";
import { Card, Failure, Loading, PageHeader } from "../../components/layout.js";
import { toast } from "../../components/overlays.js";
import { duration } from "../../format.js";
import { t } from "../../i18n.js";
import { href } from "../../router.js";
import { loadSession } from "../../session.js";
import { Conflict } from "../kit/conflict.js";
import { managed, useRead } from "../kit/data.js";
import { isSame } from "../kit/draft.js";
import { plain } from "../kit/difference.js";
import { confirmDiscard, FormProblem, TEXT, useForm } from "../kit/form.js";
import { effective, FIELDS, PARTS, typedPolicy, writtenPolicy } from "./policy.js";
import { Consequences } from "./policy_consequences.js";
import { PolicyField, WarmUp } from "./policy_fields.js";

const CODECS = { name: TEXT, timezone: TEXT, policy: { read: typedPolicy, write: writtenPolicy } };
const fieldsOf = (typed) => Object.entries(writtenPolicy(typed) ?? {});

export default function Settings() {
  const url = managed("/customer");
  const read = useRead(url);
  const actions = html`<${Button} icon="audit" href=${href("/audit", { entity: "customer" })}>${t("act.changes")}<//>`;
  return html`
    <${PageHeader} title=${t("nav.customer")} description=${t("settings.about")} actions=${actions} />
    ${read.error && html`<${Failure} error=${read.error} onRetry=${read.reload} />`}
    ${!read.found && !read.error && html`<${Loading} />`}
    ${read.found && html`<${Editor} key=${read.found.etag} row=${read.found.data} etag=${read.found.etag} url=${url} onSaved=${read.reload} />`}`;
}

function Editor({ row, etag, url, onSaved }) {
  const form = useForm({
    name: "customer", codecs: CODECS, row, etag, url,
    save: (body, tag) => put(url, body, { etag: tag }),
    onSaved: async () => {
      toast(t("form.saved"));
      onSaved();
      await loadSession(); // the name and the zone are in the frame, too
    },
  });
  const zones = useMemo(() => Intl.supportedValuesOf("timeZone"), []);
  const policy = form.value.policy;
  const set = (name) => (value) => form.set("policy", { ...policy, [name]: value });
  const problem = (name) => form.problem(`policy.${name}`);
  const shown = effective(writtenPolicy(policy));
  const discard = async () => (await confirmDiscard()) && form.discard();
  const told = (typed) => fieldsOf(typed).map(([name, value]) => `${t(`policy.${name}`)}: ${FIELDS.get(name)?.kind === "duration" ? duration(value) : plain(value)}`).join("; ") || t("settings.defaults");
  const fields = [["name", t("field.name")], ["timezone", t("field.timezone")], ["policy", t("settings.policy"), told]];
  return html`<form ref=${form.element} class="stack settings" onSubmit=${form.submit}>
    <${FormProblem} form=${form} />
    <${Card} title=${t("settings.customer")}>
      <div class="pair">
        <${Field} label=${t("field.name")} required maxlength="150" ...${form.bind("name")} />
        <div>
          <${Field} label=${t("field.timezone")} hint=${t("settings.timezone.hint")} required list="zones" autocomplete="off" spellcheck="false" ...${form.bind("timezone")} />
          <datalist id="zones">${zones.map((zone) => html`<option value=${zone}></option>`)}</datalist>
        </div>
      </div>
    <//>
    <div class="settings-policy">
      <div class="stack">
        ${PARTS.map(([part, names]) => html`<${Card} key=${part} title=${t(`settings.${part}`)} description=${t(`settings.${part}.hint`)}>
          <div class="policy-fields">
            ${names.map(([name, rule]) => html`<${PolicyField} key=${name} ...${{ name, rule }} value=${policy[name]} onValue=${set(name)} error=${problem(name)} />`)}
          </div>
          ${part === "engine" && html`<${WarmUp} steps=${policy.warm_up} onSteps=${set("warm_up")} error=${problem("warm_up")} problem=${problem} />`}
        <//>`)}
      </div>
      <${Consequences} policy=${shown} isChanged=${!isSame(policy, form.base.policy)} />
    </div>
    <div class="form-acts sticky">
      <${Button} kind="primary" type="submit" busy=${form.isBusy} disabled=${!form.isDirty}>${t("form.save")}<//>
      ${form.isDirty && html`<${Button} onClick=${discard}>${t("form.discard")}<//>`}
      <span class="soft">${t("settings.changed", { count: fieldsOf(policy).length })}</span>
    </div>
    ${form.conflict && html`<${Conflict} form=${form} fields=${fields} />`}
  </form>`;
}
