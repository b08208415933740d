// The members of a group, live: a table that draws only the rows in sight, so that thousands cost what is seen.
import { html, memo, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../preact.js";
import { Icon } from "../components/icons.js";
import { t } from "../i18n.js";
import { useStore } from "../store.js";
import { arrange } from "./arrange.js";
import { level } from "./health.js";
import { Calls, Countdown, Health, StatusBadge } from "./parts.js";

/** Rows beyond the edges, so that scrolling shows no gaps. */
const BEYOND = 8;
/** While somebody looks, rows change their places at most this often. */
const SETTLED_MS = 1000;
const FLASH_MS = 1400;
const narrow = matchMedia("(max-width: 44rem)");

const COLUMNS = [
  { key: "number", label: "column.number" },
  { key: "carrier", label: "column.carrier" },
  { key: "status", label: "column.status" },
  { key: "health", label: "column.health" },
  { key: "calls", label: "column.calls", descendsFirst: true },
  { key: "cooldown", label: "column.cooldown" },
];

/** `live` is a LiveGroup, `filter` { statuses, carrier, search }; `onExplain` gets the id of a member. */
export function MemberTable({ live, filter, onExplain, onShown }) {
  useStore(live.shown);
  const [sort, setSort] = useState(null);
  const rows = useArranged(live.state, filter, sort);
  const height = useRowHeight();
  const box = useRef(null);
  const [first, last] = useWindow(box, height, rows.length);
  const focused = useFocusedRow(box);
  useEffect(() => onShown(rows.length), [rows.length]);
  const shown = rows.slice(first, last).map((member, index) => [first + index, member]);
  const held = focused === null ? -1 : rows.findIndex((member) => member.caller_id_id === focused);
  if (held >= 0 && (held < first || held >= last)) shown.push([held, rows[held]]);
  return html`<div class="members" ref=${box} tabindex="0" role="region" aria-label=${t("members.caption")}>
    <div role="table" aria-label=${t("members.caption")} aria-rowcount=${rows.length + 1} aria-colcount=${COLUMNS.length}>
      <div role="rowgroup" class="head">
        <div role="row" aria-rowindex="1" class="line">
          ${COLUMNS.map((column) => html`<${Heading} key=${column.key} ...${{ column, sort, setSort }} />`)}
        </div>
      </div>
      ${rows.length > 0 && html`<div role="rowgroup" class="rows" style=${{ height: `${rows.length * height}px` }}>
        ${shown.map(
          ([index, member]) => html`<${Row}
            key=${member.caller_id_id} member=${member} index=${index} top=${index * height} flash=${live.flashes.get(member.caller_id_id)}
            onExplain=${onExplain}
          />`,
        )}
      </div>`}
    </div>
    ${!rows.length && html`<p class="none">${t(live.state.members.size ? "members.noMatch" : "members.none")}</p>`}
  </div>`;
}

function Heading({ column, sort, setSort }) {
  const isSorted = sort?.key === column.key;
  const direction = isSorted ? (sort.descending ? "descending" : "ascending") : "none";
  const next = () => {
    const descending = isSorted ? !sort.descending : Boolean(column.descendsFirst);
    // The third press gives the order of the group back.
    setSort(isSorted && sort.descending !== Boolean(column.descendsFirst) ? null : { key: column.key, descending });
  };
  return html`<div role="columnheader" aria-sort=${direction} class=${`cell ${column.key}`}>
    <button type="button" class="sort" onClick=${next}>
      ${t(column.label)}${isSorted && html`<${Icon} name=${sort.descending ? "down" : "up"} size=${12} />`}
    </button>
  </div>`;
}

const Row = memo(
  ({ member, index, top, flash, onExplain }) => {
    const { caller_id_id: id, number, carrier, status, health_score: health, calls_today: calls, daily_cap: cap } = member;
    const hit = flash && performance.now() - flash.at < FLASH_MS ? new Set(flash.fields) : null;
    // A new element for each flash: an animation runs once in the life of an element.
    const flashes = (field) => hit?.has(field) && html`<span class="flash" key=${flash.at} aria-hidden="true"></span>`;
    const why = t("health.why", { score: health, level: t(`health.level.${level(health)}`) });
    return html`<div role="row" class=${`line ${status}`} aria-rowindex=${index + 2} data-id=${id} style=${{ transform: `translateY(${top}px)` }}>
      <div role="rowheader" class="cell number numeric">${flashes("status")}${number}</div>
      <div role="cell" class="cell carrier">${t(`carrier.${carrier}`)}</div>
      <div role="cell" class="cell status"><${StatusBadge} status=${status} /></div>
      <div role="cell" class="cell health">${flashes("health_score")}
        <button type="button" aria-label=${why} title=${why} onClick=${() => onExplain(id)}><${Health} score=${health} /></button>
      </div>
      <div role="cell" class="cell calls">${flashes("calls_today")}<${Calls} calls=${calls} cap=${cap} /></div>
      <div role="cell" class="cell cooldown">${member.cooldown_until && html`<${Icon} name="cooldown" size=${14} /><${Countdown} at=${member.cooldown_until} />`}</div>
    </div>`;
  },
  (a, b) => a.member === b.member && a.index === b.index && a.top === b.top && a.flash === b.flash,
);

/** The rows in their order. What one asks for applies at once; what the data does to the order, once a second. */
function useArranged(state, filter, sort) {
  const kept = useRef({ at: 0, ids: null, asked: null });
  const [, again] = useState(0);
  const asked = useMemo(() => ({ ...filter, sort }), [filter.statuses, filter.carrier, filter.search, sort]);
  const now = performance.now();
  const isDue = kept.current.asked !== asked || now - kept.current.at >= SETTLED_MS;
  const ordered = useMemo(() => {
    if (!isDue) {
      const rows = kept.current.ids.map((id) => state.members.get(id));
      if (!rows.includes(undefined)) return rows;
    }
    const rows = arrange(state.members.values(), asked);
    kept.current = { at: now, ids: rows.map((member) => member.caller_id_id), asked };
    return rows;
  }, [state.version, asked, isDue]);
  useEffect(() => {
    if (kept.current.at === now) return undefined;
    const timer = setTimeout(() => again((count) => count + 1), SETTLED_MS - (now - kept.current.at));
    return () => clearTimeout(timer);
  }, [state.version]);
  return ordered;
}

function useRowHeight() {
  const [isNarrow, setNarrow] = useState(narrow.matches);
  useEffect(() => {
    const change = () => setNarrow(narrow.matches);
    narrow.addEventListener("change", change);
    return () => narrow.removeEventListener("change", change);
  }, []);
  return isNarrow ? 72 : 35;
}

/** The first row to draw and the one after the last. */
function useWindow(box, height, count) {
  const [[top, tall], setSeen] = useState([0, 900]);
  useLayoutEffect(() => {
    const element = box.current;
    // Whole rows: a scroll within a row draws nothing anew.
    const look = () => setSeen((old) => {
      const next = [Math.floor(element.scrollTop / height), Math.ceil(element.clientHeight / height) * height];
      return next[0] === old[0] && next[1] === old[1] ? old : next;
    });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [height]);
  const first = Math.max(0, Math.min(top - BEYOND, count - 1));
  return [first, Math.min(count, top + Math.ceil(tall / height) + BEYOND)];
}

/** The member whose row has the focus; it stays in the page when it is scrolled out of sight. */
function useFocusedRow(box) {
  const [id, setId] = useState(null);
  useEffect(() => {
    const element = box.current;
    const look = (event) => {
      const row = event.target.closest?.("[data-id]");
      setId(row ? Number(row.dataset.id) : null);
    };
    const leave = (event) => element.contains(event.relatedTarget) || setId(null);
    element.addEventListener("focusin", look);
    element.addEventListener("focusout", leave);
    return () => {
      element.removeEventListener("focusin", look);
      element.removeEventListener("focusout", leave);
    };
  }, []);
  return id;
}
