// One import, of now or of before.
import { html, useEffect, useState } from "../preact.js";
import { get } from "../api.js";
import { Failure, Loading, PageHeader } from "../components/layout.js";
import { t } from "../i18n.js";
import { href } from "../router.js";
import { Outcome, statusBadge, watchImport } from "./import_outcome.js";
import { managed } from "./kit/data.js";
import { When } from "./kit/parts.js";

export default function Import({ params }) {
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    const follow = async () => {
      const { data } = await get(managed(`/imports/${params.id}`), { signal: controller.signal });
      setTold(data);
      if (!data.finished_at) await watchImport(params.id, setTold, controller.signal);
    };
    setError(null);
    follow().catch((failure) => controller.signal.aborted || setError(failure));
    return () => controller.abort();
  }, [params.id, attempt]);
  return html`
    <${PageHeader} title=${t("imports.name", { id: params.id })} trail=${[[href("/imports"), t("nav.imports")]]} beside=${told && statusBadge(told)}
      description=${told && html`${t(told.dry_run ? "imports.dry" : "imports.real")} · <${When} at=${told.created_at} />`} />
    ${error && html`<${Failure} error=${error} onRetry=${() => setAttempt(attempt + 1)} />`}
    ${!told && !error && html`<${Loading} />`}
    ${told && html`<${Outcome} told=${told} />`}
    ${told?.status === "succeeded" && !told.changes.length && html`<p class="soft">${t("imports.nothing")}</p>`}`;
}
