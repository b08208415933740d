// One group: what it is, and its members.
import { html, useState } from "../preact.js";
import { Button } from "../components/controls.js";
import { EmptyState, Failure, Loading, PageHeader } from "../components/layout.js";
import { t } from "../i18n.js";
import { href, navigate } from "../router.js";
import { may } from "../session.js";
import { GroupActs, GroupDialog } from "./groups.js";
import { useActs } from "./kit/change.js";
import { managed, useRead } from "./kit/data.js";
import { OnOff } from "./kit/parts.js";
import { Members } from "./members.js";

const PATH = "/caller-id-groups";

export default function Group({ params }) {
  const { id } = params;
  const read = useRead(managed(`${PATH}/${id}`));
  const members = useRead(managed(`${PATH}/${id}/members`));
  const [isEdited, setEdited] = useState(false);
  const [act, problem] = useActs(read.reload);
  const trail = [[href(PATH), t("nav.groups")]];
  const error = read.error ?? members.error;
  const retry = () => {
    read.reload();
    members.reload();
  };
  if (error?.status === 404) {
    return html`<${PageHeader} title=${t("nav.groups")} trail=${trail} />
      <${EmptyState} title=${t("monitor.gone")} action=${html`<${Button} href=${href(PATH)}>${t("groupsManage.back")}<//>`}>${t("monitor.gone.hint")}<//>`;
  }
  if (!read.found) return html`<${PageHeader} title=${t("nav.groups")} trail=${trail} />${error ? html`<${Failure} error=${error} onRetry=${retry} />` : html`<${Loading} />`}`;
  const row = read.found.data;
  const actions = html`<${Button} icon="pulse" href=${href(`/groups/${id}`)}>${t("groupsManage.live")}<//>
    <${GroupActs} row=${row} act=${act} onEdit=${() => setEdited(true)} onGone=${() => navigate(PATH)} />`;
  const saved = () => {
    setEdited(false);
    read.reload();
  };
  return html`
    <${PageHeader} title=${row.name} trail=${trail} beside=${html`<${OnOff} status=${row.status} />`}
      description=${row.description ?? t(`strategy.${row.rotation_strategy}`)} actions=${actions} />
    ${problem}
    ${error && html`<${Failure} error=${error} onRetry=${retry} />`}
    ${members.found
      ? html`<${Members} key=${members.found.etag} group=${row} read=${members} mayChange=${may("admin")} onSaved=${read.reload} />`
      : !error && html`<${Loading} />`}
    ${isEdited && html`<${GroupDialog} row=${row} onClose=${() => setEdited(false)} onSaved=${saved} />`}`;
}
