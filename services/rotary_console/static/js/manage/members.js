// The members of a group: dragged, added with buttons, or pasted. Nothing is changed before the difference was shown.
import { html, useMemo, useState } from "../preact.js";
import { get, put } from "../api.js";
import { Button, Search, useAction, useTyped } from "../components/controls.js";
import { Icon } from "../components/icons.js";
import { Badge, Card, Failure, Notice } from "../components/layout.js";
import { toast } from "../components/overlays.js";
import { Pager } from "../components/table.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { managed } from "./kit/data.js";
import { useDraft } from "./kit/draft.js";
import { confirmDiscard } from "./kit/form.js";
import { Available } from "./members_available.js";
import { Changes, changesOf, MembersConflict } from "./members_changes.js";
import { Paste } from "./members_paste.js";

const SHOWN = 50;
const TYPE = "application/x-rotary-caller-id";

/** What a browser lets us drag: the caller ID, to one of the two sides. */
export const drags = (member, side) => ({
  draggable: true,
  onDragStart: (event) => {
    event.dataTransfer.setData(TYPE, JSON.stringify({ member, side }));
    event.dataTransfer.effectAllowed = "move";
  },
});

/** A place to drop what comes from the other side. */
export function useDrop(side, onDrop) {
  const [isOver, setOver] = useState(false);
  return [isOver, {
    onDragOver: (event) => {
      if (!event.dataTransfer.types.includes(TYPE)) return;
      event.preventDefault();
      setOver(true);
    },
    onDragLeave: (event) => event.currentTarget.contains(event.relatedTarget) || setOver(false),
    onDrop: (event) => {
      event.preventDefault();
      setOver(false);
      const dragged = JSON.parse(event.dataTransfer.getData(TYPE) || "null");
      if (dragged && dragged.side !== side) onDrop(dragged.member);
    },
  }];
}

/** `read` is what was read of the members; a member is { caller_id_id, number, weight }. */
export function Members({ group, read, mayChange, onSaved }) {
  const { data, etag } = read.found;
  const draft = useDraft(`members of ${group.id}`, data, etag);
  const [isPasting, setPasting] = useState(false);
  const [isReviewed, setReviewed] = useState(false);
  const [conflict, setConflict] = useState(null);
  const [run, isBusy, error] = useAction();
  const changes = useMemo(() => changesOf(draft.base, draft.value), [draft.base, draft.value]);
  const url = managed(`/caller-id-groups/${group.id}/members`);
  const change = membersOf(draft);
  const save = () =>
    run(async () => {
      const { value, etag: known } = draft.latest.current;
      const body = { members: value.map(({ caller_id_id, weight }) => ({ caller_id_id, weight })) };
      try {
        const answer = await put(url, body, { etag: known });
        draft.rebase(answer.data.members, answer.etag);
        const { added, removed, reweighted } = answer.data;
        toast(t("members.saved", { added: added.length, removed: removed.length, reweighted: reweighted.length }));
        setReviewed(false);
        setConflict(null);
        onSaved();
      } catch (failure) {
        if (!failure.isLostUpdate) throw failure;
        const theirs = await get(url);
        setReviewed(false);
        setConflict({ theirs: theirs.data, etag: theirs.etag });
      }
    });
  const discard = async () => (await confirmDiscard()) && draft.discard();
  const keep = () => {
    draft.rebase(conflict.theirs, conflict.etag, draft.latest.current.value);
    return save();
  };
  const take = () => {
    draft.rebase(conflict.theirs, conflict.etag);
    setConflict(null);
    toast(t("conflict.taken"));
  };
  return html`
    ${draft.wasKept && draft.isDirty && html`<${Notice}><p>${t("form.restored")}</p><//>`}
    <div class=${mayChange ? "two-sides" : ""}>
      <${Present} ...${{ group, draft, changes, change, mayChange }} onPaste=${() => setPasting(true)} />
      ${mayChange && html`<${Available} present=${draft.value} change=${change} />`}
    </div>
    ${mayChange && draft.isDirty && html`<${Pending} ...${{ changes, isBusy }} onReview=${() => setReviewed(true)} onDiscard=${discard} />`}
    ${isPasting && html`<${Paste} present=${draft.value} change=${change} onClose=${() => setPasting(false)} />`}
    ${isReviewed && html`<${Changes} ...${{ group, changes, isBusy, error }} onSave=${save} onClose=${() => setReviewed(false)} />`}
    ${!isReviewed && error && html`<${Failure} error=${error} />`}
    ${conflict && html`<${MembersConflict} ...${{ draft, isBusy }} theirs=${conflict.theirs} onKeep=${keep} onTake=${take} onClose=${() => setConflict(null)} />`}`;
}

/** How the list of members is changed. Those that are there already stay as they are. */
function membersOf(draft) {
  const without = (gone) => draft.latest.current.value.filter(({ caller_id_id: id }) => !gone.has(id));
  const put = (members) => draft.set(members.toSorted((one, other) => one.caller_id_id - other.caller_id_id));
  const add = (members, start = draft.latest.current.value) => {
    const known = new Set(start.map(({ caller_id_id: id }) => id));
    const before = new Map(draft.latest.current.base.map((member) => [member.caller_id_id, member]));
    const added = members.filter(({ caller_id_id: id }) => !known.has(id));
    put([...start, ...added.map((each) => ({ caller_id_id: each.caller_id_id, number: each.number, weight: each.weight ?? before.get(each.caller_id_id)?.weight ?? 1 }))]);
  };
  return {
    add,
    /** These, with their weights, and of those that are there already the weights that are given. */
    merge: (members) => {
      const given = new Map(members.map((each) => [each.caller_id_id, each]));
      const reweighted = draft.latest.current.value.map((each) => ({ ...each, weight: given.get(each.caller_id_id)?.weight ?? each.weight }));
      add(members, reweighted);
    },
    replace: (members) => {
      const now = new Map(draft.latest.current.value.map((each) => [each.caller_id_id, each]));
      put(members.map((each) => ({ caller_id_id: each.caller_id_id, number: each.number, weight: each.weight ?? now.get(each.caller_id_id)?.weight ?? 1 })));
    },
    remove: (id) => put(without(new Set([id]))),
    weigh: (id, weight) => put(draft.latest.current.value.map((each) => (each.caller_id_id === id ? { ...each, weight } : each))),
  };
}

function Present({ group, draft, changes, change, mayChange, onPaste }) {
  const [search, setSearch] = useState("");
  const [page, setPage] = useState(1);
  const [isOver, drop] = useDrop("present", (member) => change.add([member]));
  const added = new Set(changes.added.map(({ caller_id_id: id }) => id));
  const before = new Map(draft.base.map((each) => [each.caller_id_id, each]));
  // Whoever is taken out stays in sight, crossed out, until it is saved.
  const all = [...changes.removed.map((each) => ({ ...each, isRemoved: true })), ...draft.value].sort((one, other) => one.caller_id_id - other.caller_id_id);
  const wanted = search.replace(/[^\d]/g, "").replace(/^0/, "");
  const fitting = wanted ? all.filter(({ number: text }) => text.includes(wanted)) : all;
  const last = Math.max(1, Math.ceil(fitting.length / SHOWN));
  const current = Math.min(page, last);
  const find = (text) => {
    setSearch(text);
    setPage(1);
  };
  const actions = mayChange && html`<${Button} icon="copy" onClick=${onPaste}>${t("members.paste")}<//>`;
  return html`<${Card} class=${`side ${isOver ? "over" : ""}`} title=${t("members.present", { count: draft.value.length })} actions=${actions}
    description=${mayChange && t(group.rotation_strategy === "weighted" ? "members.weights.used" : "members.present.hint")}>
    <div class="side-body" ...${mayChange ? drop : {}}>
      <${Search} label=${t("members.search")} value=${search} onValue=${find} />
      ${fitting.length
        ? html`<ul class="member-list" aria-label=${t("members.title")}>
            ${fitting.slice((current - 1) * SHOWN, current * SHOWN).map(
              (each) => html`<${Member} key=${each.caller_id_id} member=${each} was=${before.get(each.caller_id_id)}
                isAdded=${added.has(each.caller_id_id)} change=${change} mayChange=${mayChange} />`,
            )}
          </ul>`
        : html`<p class="drop-hint soft"><${Icon} name="import" size=${20} />${t(all.length ? "members.noMatch" : mayChange ? "members.drop" : "members.none")}</p>`}
      ${last > 1 && html`<${Pager} page=${{ current_page: current, last_page: last, per_page: SHOWN, total: fitting.length }} onPage=${setPage} />`}
    </div>
  <//>`;
}

function Member({ member, was, isAdded, change, mayChange }) {
  const { caller_id_id: id, number: text, weight, isRemoved } = member;
  const name = { number: text };
  if (!mayChange) {
    return html`<li class="member"><span class="numeric strong">${text}</span><span class="soft">${t("members.weighs", { weight })}</span></li>`;
  }
  if (isRemoved) {
    return html`<li class="member removed">
      <span><s class="numeric">${text}</s> <${Badge} kind="danger">${t("members.removed")}<//></span>
      <${Button} kind="quiet" onClick=${() => change.add([member])} aria-label=${t("members.undo.of", name)}>${t("members.undo")}<//>
    </li>`;
  }
  const isHeavier = was && was.weight !== weight;
  return html`<li class=${`member ${isAdded ? "added" : ""}`} data-member=${id} ...${drags(member, "present")}>
    <span><span class="grip" aria-hidden="true"></span><span class="numeric strong">${text}</span>
      ${isAdded && html` <${Badge} kind="eligible" icon="plus">${t("members.new")}<//>`}
      ${isHeavier && html` <${Badge} kind="cooldown">${t("members.was", { weight: number(was.weight) })}<//>`}</span>
    <label class="weight"><span class="soft">${t("field.weight")}</span>
      <${Weight} weight=${weight} label=${t("members.weight.of", name)} onWeight=${(wanted) => change.weigh(id, wanted)} /></label>
    <${Button} kind="quiet" icon="close" label=${t("members.remove.of", name)} onClick=${() => change.remove(id)} />
  </li>`;
}

function Weight({ weight, label, onWeight }) {
  const typing = useTyped(weight, (text) => {
    const wanted = Number(text);
    if (Number.isInteger(wanted) && wanted >= 1 && wanted < 2 ** 31) onWeight(wanted);
  });
  return html`<input class="input numeric" type="number" min="1" step="1" aria-label=${label} ...${typing} />`;
}

/** What is not saved yet, always in sight. */
function Pending({ changes, isBusy, onReview, onDiscard }) {
  const { added, removed, reweighted } = changes;
  return html`<div class="pending" role="region" aria-label=${t("members.pending")}>
    <p role="status">${t("members.pending")}
      <span class="counts"><b class="plus">+${number(added.length)}</b> <b class="minus">−${number(removed.length)}</b>
      ${reweighted.length > 0 && html` <b>${t("members.reweighted.count", { count: reweighted.length })}</b>`}</span></p>
    <div class="cluster">
      <${Button} onClick=${onDiscard}>${t("form.discard")}<//>
      <${Button} kind="primary" busy=${isBusy} onClick=${onReview}>${t("members.review")}<//>
    </div>
  </div>`;
}
