// Small changes from a list, such as disabling a row: they too change only what was seen.
import { html, useState } from "../../preact.js";
import { get } from "../../api.js";
import { Failure } from "../../components/layout.js";
import { Button } from "../../components/controls.js";
import { confirm, toast } from "../../components/overlays.js";
import { t } from "../../i18n.js";
import { differences, plain } from "./difference.js";

/**
 * Does `act(etag)` if the row at `url` is still what the page shows; else says what somebody else changed, and asks.
 * False if the answer was no. Raises ApiError.
 */
export async function unlessChanged(url, shown, act) {
  let seen = shown;
  for (;;) {
    const { data, etag } = await get(url);
    const changed = differences(seen, data);
    if (changed.length && !(await confirm(question(changed)))) return false;
    seen = data;
    try {
      await act(etag);
      return true;
    } catch (error) {
      if (!error.isLostUpdate) throw error;
    }
  }
}

function question(changed) {
  const told = changed.map(({ key, label, before, after }) => `${label}: ${plain(before, key)} → ${plain(after, key)}`).join("; ");
  return { title: t("conflict.title"), body: t("conflict.since", { changes: told }), action: t("conflict.goOn") };
}

/**
 * What a page does to its rows: [act, problem]. `act(work, done)` tells `done` if `work` was done, reads the list again, and
 * keeps what failed in `problem`, which is to be shown above the list.
 */
export function useActs(reload) {
  const [error, setError] = useState(null);
  const act = async (work, done) => {
    setError(null);
    try {
      if ((await work()) === false) return;
      if (done) toast(done);
    } catch (failure) {
      if (failure.name !== "ApiError") throw failure;
      setError(failure);
      scrollTo({ top: 0 });
    }
    reload();
  };
  const problem = error && html`<div class="problem"><${Failure} error=${error} /><${Button} kind="quiet" icon="close" label=${t("toast.dismiss")} onClick=${() => setError(null)} /></div>`;
  return [act, problem];
}
