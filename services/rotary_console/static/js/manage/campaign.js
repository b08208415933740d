// One campaign, to read and to change; /campaigns/new is one that does not exist yet.
import { html } from "../preact.js";
import { post, put } from "../api.js";
import { Button, Checkbox, Field } from "../components/controls.js";
import { Card, EmptyState, Failure, Loading, PageHeader } from "../components/layout.js";
import { toast } from "../components/overlays.js";
import { t } from "../i18n.js";
import { href, navigate } from "../router.js";
import { customer, may } from "../session.js";
import { CampaignBadge, StatusActs } from "./campaign_status.js";
import { useActs } from "./kit/change.js";
import { Conflict } from "./kit/conflict.js";
import { campaigns, newKey, useGroups, useRead } from "./kit/data.js";
import { AS_IS, CHOICE_OF_ID, confirmDiscard, FormProblem, OPTIONAL_TEXT, TEXT, useForm, WHOLE } from "./kit/form.js";
import { When } from "./kit/parts.js";
import { TimeWindow, windowText } from "./time_window.js";

const MODES = ["manual", "preview", "progressive", "predictive"];
const NEW = {
  dialer_mode: "preview", ring_timeout_sec: 25, preview_window_sec: 10, priority: 100, max_attempts: 5, pdpl_enforce: true,
  abandon_rate_limit_pct: 3, time_window: null, caller_id_group_id: null,
};
const CODECS = {
  name: TEXT, description: OPTIONAL_TEXT, dialer_mode: AS_IS, caller_id_group_id: CHOICE_OF_ID, ring_timeout_sec: WHOLE,
  preview_window_sec: WHOLE, priority: WHOLE, max_attempts: WHOLE, pdpl_enforce: AS_IS, abandon_rate_limit_pct: WHOLE,
  time_window: AS_IS,
};

export default function Campaign({ params }) {
  const isNew = params.id === "new";
  const url = isNew ? null : campaigns(`/${params.id}`);
  const read = useRead(url);
  const groups = useGroups();
  const trail = [[href("/campaigns"), t("nav.campaigns")]];
  if (isNew) return html`<${PageHeader} title=${t("campaigns.new")} description=${t("campaigns.new.about")} trail=${trail} /><${Editor} row=${NEW} groups=${groups} />`;
  if (read.error?.status === 404) {
    return html`<${PageHeader} title=${t("nav.campaigns")} trail=${trail} /><${EmptyState} icon="campaign" title=${t("campaigns.gone")}>${read.error.message}<//>`;
  }
  if (!read.found) return html`<${PageHeader} title=${t("nav.campaigns")} trail=${trail} />${read.error ? html`<${Failure} error=${read.error} onRetry=${read.reload} />` : html`<${Loading} />`}`;
  return html`<${Known} ...${{ read, url, groups, trail }} />`;
}

function Known({ read, url, groups, trail }) {
  const { data: row, etag } = read.found;
  const [act, problem] = useActs(read.reload);
  const history = may("operator") && html`<${Button} icon="audit" href=${href("/audit", { entity: "campaign", entity_id: row.id })}>${t("act.changes")}<//>`;
  return html`
    <${PageHeader} title=${row.name} trail=${trail} beside=${html`<${CampaignBadge} status=${row.status} />`}
      description=${html`${t("campaigns.changed")} <${When} at=${row.updated_at} />`} actions=${html`${history}<${StatusActs} ...${{ row, act, groups }} />`} />
    ${problem}
    <${Editor} key=${etag} ...${{ row, etag, url, groups }} onSaved=${read.reload} />`;
}

function Editor({ row, etag, url, groups, onSaved }) {
  const mayChange = may("operator") && row.status !== "archived";
  const form = useForm({
    name: `campaign ${row.id ?? "new"}`,
    codecs: CODECS, row, etag, url, refusedAt: "name",
    save: (body, tag) => (url ? put(url, body, { etag: tag }) : post(campaigns(), body, { once: newKey() })),
    onSaved: ({ data }) => {
      toast(t(url ? "form.saved" : "campaigns.created", { name: data.name }));
      if (url) onSaved();
      else navigate(`/campaigns/${data.id}`, {}, { replace: true });
    },
  });
  const { bind } = form;
  const names = new Map((groups ?? []).map(({ id, name }) => [String(id), name]));
  const discard = async () => {
    if (form.isDirty && !(await confirmDiscard())) return;
    form.discard();
    if (!url) navigate("/campaigns");
  };
  const fields = [
    ...["name", "description"].map((each) => [each, t(`field.${each}`)]),
    ["dialer_mode", t("field.dialer_mode"), (value) => t(`mode.${value}`)],
    ["caller_id_group_id", t("field.caller_id_group_id"), (value) => names.get(value) ?? value],
    ...["ring_timeout_sec", "preview_window_sec", "priority", "max_attempts", "abandon_rate_limit_pct"].map((each) => [each, t(`field.${each}`)]),
    ["pdpl_enforce", t("field.pdpl_enforce"), (value) => t(value ? "value.yes" : "value.no")],
    ["time_window", t("field.time_window"), windowText],
  ];
  const pdpl = bind("pdpl_enforce");
  return html`<form ref=${form.element} class="stack campaign-form" onSubmit=${form.submit}>
    <${FormProblem} form=${form} />
    <fieldset class="stack" disabled=${!mayChange}>
      ${!mayChange && html`<p class="soft">${t(row.status === "archived" ? "campaigns.archived.hint" : "campaigns.viewer")}</p>`}
      <div class="columns wide">
        <${Card} title=${t("campaigns.basics")}>
          <div class="stack">
            <${Field} label=${t("field.name")} required maxlength="150" autocomplete="off" ...${bind("name")} />
            <${Field} label=${t("field.description")} as="textarea" rows="2" optional maxlength="500" ...${bind("description")} />
            <${Field} as="select" label=${t("field.dialer_mode")} hint=${t(`modeHint.${form.value.dialer_mode}`)} ...${bind("dialer_mode")}>
              ${MODES.map((each) => html`<option value=${each}>${t(`mode.${each}`)}</option>`)}
            <//>
            <${GroupField} groups=${groups} bound=${bind("caller_id_group_id")} />
          </div>
        <//>
        <${Card} title=${t("campaigns.dialing")}>
          <div class="stack">
            <div class="pair">
              <${Field} label=${t("field.ring_timeout_sec")} hint=${t("campaigns.ring.hint")} type="number" min="5" max="120" required ...${bind("ring_timeout_sec")} />
              <${Field} label=${t("field.preview_window_sec")} hint=${t("campaigns.preview.hint")} type="number" min="0" max="60" required ...${bind("preview_window_sec")} />
              <${Field} label=${t("field.priority")} hint=${t("campaigns.priority.hint")} type="number" min="0" max="1000" required ...${bind("priority")} />
              <${Field} label=${t("field.max_attempts")} hint=${t("campaigns.attempts.hint")} type="number" min="1" max="20" required ...${bind("max_attempts")} />
            </div>
            <${Field} label=${t("field.abandon_rate_limit_pct")} hint=${t("campaigns.abandon.hint")} type="number" min="0" max="10" step="0.1" required ...${bind("abandon_rate_limit_pct")} />
            <${Checkbox} label=${t("field.pdpl_enforce")} hint=${t("campaigns.pdpl.hint")} checked=${pdpl.value} onValue=${pdpl.onValue} />
          </div>
        <//>
      </div>
      <${Card} title=${t("field.time_window")} description=${t("window.zone", { zone: customer.value.timezone })}>
        <${TimeWindow} ...${bind("time_window")} problem=${(day) => form.problem(`time_window.${day}`)} />
      <//>
    </fieldset>
    ${mayChange && html`<div class="form-acts">
      <${Button} kind="primary" type="submit" busy=${form.isBusy} disabled=${Boolean(url) && !form.isDirty}>${t(url ? "form.save" : "campaigns.create")}<//>
      ${(form.isDirty || !url) && html`<${Button} onClick=${discard}>${t(url ? "form.discard" : "dialog.cancel")}<//>`}
    </div>`}
    ${form.conflict && html`<${Conflict} form=${form} fields=${fields} />`}
  </form>`;
}

/** Groups that are disabled can't be chosen; one that is chosen already is shown. */
function GroupField({ groups, bound }) {
  const shown = (groups ?? []).filter(({ id, status }) => status === "active" || String(id) === bound.value);
  const known = shown.some(({ id }) => String(id) === bound.value);
  return html`<${Field} as="select" label=${t("field.caller_id_group_id")} hint=${t("campaigns.group.hint")} ...${bound}>
    <option value="">${t("campaigns.noGroup")}</option>
    ${bound.value && !known && html`<option value=${bound.value}>${bound.value}</option>`}
    ${shown.map(({ id, name, caller_ids_count: count }) => html`<option value=${String(id)}>${t("campaigns.group.option", { name, count })}</option>`)}
  <//>`;
}
