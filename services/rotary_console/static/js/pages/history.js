// The last days of a group, or of one number in it: calls, flags, time at rest, health at midnight.
import { html, useEffect, useMemo, useState } from "../preact.js";
import { Button, Field } from "../components/controls.js";
import { Card, EmptyState, Failure, Loading, PageHeader } from "../components/layout.js";
import { Table } from "../components/table.js";
import { compareTexts, duration, number } from "../format.js";
import { t } from "../i18n.js";
import { Health } from "../live/parts.js";
import { DayChart } from "../live/day_chart.js";
import { href, navigate } from "../router.js";
import { readApi } from "../session.js";
import { addStyles } from "../styles.js";

const KINDS = ["spam_label", "blocked", "user_report", "rejected"];
const styled = addStyles(new URL("../../css/history.css", import.meta.url));
await styled;

export default function History({ params, query }) {
  const { id, caller } = params;
  const [found, retry] = useHistory(id, caller, query.from, query.to);
  const name = useName(id);
  const { data, error } = found;
  const one = caller && data?.members[0];
  const trail = [[href("/groups"), t("nav.live")], [href(`/groups/${id}`), name ?? t("history.group", { id })]];
  if (caller) trail.push([href(`/groups/${id}/history`, query), t("history.title")]);
  return html`<${PageHeader}
      title=${one ? t("history.of", { number: one.number }) : t("history.title")} trail=${trail}
      description=${data && t("history.zone", { zone: data.timezone })}
    />
    ${data && html`<${Range} key=${data.from + data.to} data=${data} onRange=${(range) => navigate(pathOf(params), range, { replace: true })} />`}
    ${error && html`<${Failure} error=${error} onRetry=${retry} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data && !error && (data.days.length ? html`<${Days} data=${data} />` : html`<${EmptyState} icon="history" title=${t("history.none")}>${t("history.none.hint")}<//>`)}
    ${data && !error && !caller && data.members.length > 0 && html`<${Members} id=${id} members=${data.members} query=${query} />`}`;
}

const pathOf = ({ id, caller }) => (caller ? `/groups/${id}/history/${caller}` : `/groups/${id}/history`);

function useHistory(id, caller, from, to) {
  const [found, setFound] = useState({ data: null, error: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    const asked = new URLSearchParams(Object.entries({ from, to, caller_id_id: caller }).filter(([, value]) => value));
    readApi()
      .get(`/api/caller-id-groups/${id}/history?${asked}`, { signal: controller.signal })
      .then((data) => setFound({ data, error: null }), (error) => controller.signal.aborted || setFound((before) => ({ data: before.data, error })));
    return () => controller.abort();
  }, [id, caller, from, to, attempt]);
  return [found, () => setAttempt(attempt + 1)];
}

function useName(id) {
  const [name, setName] = useState(null);
  useEffect(() => {
    readApi().get(`/api/caller-id-groups/${id}`).then((group) => setName(group.name), () => {});
  }, [id]);
  return name;
}

function Range({ data, onRange }) {
  const [range, setRange] = useState({ from: data.from, to: data.to });
  const set = (name) => (value) => setRange({ ...range, [name]: value });
  const submit = (event) => {
    event.preventDefault();
    onRange(range);
  };
  return html`<form class="range" onSubmit=${submit}>
    <${Field} label=${t("history.from")} type="date" value=${range.from} onValue=${set("from")} required />
    <${Field} label=${t("history.to")} type="date" value=${range.to} onValue=${set("to")} required />
    <${Button} type="submit">${t("history.show")}<//>
  </form>`;
}

function Days({ data }) {
  const days = useMemo(() => continuous(data.days), [data]);
  const total = useMemo(
    () => ({
      calls: sum(data.days, (each) => each.calls),
      flags: sum(data.days, flagCount),
      resting: sum(data.days, (each) => each.resting_seconds),
      health: days.findLast((each) => each.health !== null)?.health ?? null,
    }),
    [days],
  );
  const flags = KINDS.map((kind) => ({ name: t(`flag.${kind}`), values: days.map((each) => each.flags[kind]), tone: kind }));
  const dates = days.map((each) => each.date);
  const only = (name, values, tone) => [{ name, values, tone }];
  const hours = days.map((each) => each.resting_seconds === null ? null : Math.round(each.resting_seconds / 360) / 10);
  return html`
    <dl class="history-tiles">
      <div class="card"><dt>${t("history.calls")}</dt><dd class="numeric">${known(total.calls)}</dd></div>
      <div class="card"><dt>${t("history.flags")}</dt><dd class="numeric">${known(total.flags)}</dd></div>
      <div class="card"><dt>${t("history.resting")}</dt><dd class="numeric">${known(total.resting, duration)}</dd></div>
      <div class="card"><dt>${t("history.health")}</dt><dd class="numeric">${known(total.health)}</dd></div>
    </dl>
    <div class="history-charts">
      <${DayChart} title=${t("history.calls")} dates=${dates} series=${only(t("history.calls"), days.map((each) => each.calls), "calls")} />
      <${DayChart} title=${t("history.flags")} dates=${dates} series=${flags} />
      <${DayChart} title=${t("history.resting.hours")} dates=${dates} series=${only(t("history.resting.hours"), hours, "resting")} />
      <${DayChart} title=${t("history.health")} dates=${dates} kind="line" most=${100}
        series=${only(t("history.health"), days.map((each) => each.health), "health")} />
    </div>
    ${data.days.some((each) => !each.final) && html`<p class="hint">${t("history.notFinal")}</p>`}`;
}

/** Every day from the first to the last: of one that is left out nothing is known. */
function continuous(days) {
  const found = new Map(days.map((each) => [each.date, each]));
  const [first, last] = [days[0], days.at(-1)].map((each) => Date.parse(`${each.date}T00:00:00Z`));
  const dates = Array.from({ length: (last - first) / DAY_MS + 1 }, (_, index) => new Date(first + index * DAY_MS).toISOString().slice(0, 10));
  const unknown = { calls: null, flags: Object.fromEntries(KINDS.map((kind) => [kind, null])), resting_seconds: null, health: null };
  return dates.map((date) => found.get(date) ?? { date, ...unknown });
}

/** Null if one of the values is: a sum is never too low. */
function sum(values, of) {
  return values.reduce((total, each) => (total === null || of(each) === null ? null : total + of(each)), 0);
}

const known = (value, format = number) => (value === null ? "–" : format(value));

const SORTS = {
  number: (a, b) => compareTexts(a.number, b.number),
  calls: (a, b) => (a.calls ?? -1) - (b.calls ?? -1),
  flags: (a, b) => (flagCount(a) ?? -1) - (flagCount(b) ?? -1),
  resting: (a, b) => a.resting_seconds - b.resting_seconds,
  health: (a, b) => (a.health ?? 101) - (b.health ?? 101),
};

const SHOWN = 100;

const DAY_MS = 86_400_000;
const flagCount = ({ flags }) => sum(KINDS, (kind) => flags[kind]);

function Members({ id, members, query }) {
  const [sort, setSort] = useState({ key: "flags", descending: true });
  const rows = useMemo(() => {
    const sorted = [...members].sort(SORTS[sort.key]);
    return sort.descending ? sorted.reverse() : sorted;
  }, [members, sort]);
  const [isAll, setAll] = useState(members.length <= SHOWN);
  const columns = [
    { key: "number", label: t("column.number"), header: true, sortable: true,
      cell: (row) => html`<a href=${href(`/groups/${id}/history/${row.caller_id_id}`, query)}>${row.number}</a>` },
    { key: "calls", label: t("history.calls"), numeric: true, sortable: true, descendsFirst: true, cell: (row) => known(row.calls) },
    { key: "flags", label: t("history.flags"), sortable: true, descendsFirst: true, cell: (row) => flagText(row) },
    { key: "resting", label: t("history.resting"), numeric: true, sortable: true, descendsFirst: true,
      cell: (row) => (row.resting_seconds ? duration(row.resting_seconds) : "–") },
    { key: "health", label: t("history.health"), sortable: true, cell: (row) => (row.health === null ? "–" : html`<${Health} score=${row.health} />`) },
  ];
  return html`<${Card} title=${t("history.members")}>
    <${Table} caption=${t("history.members")} columns=${columns} rows=${isAll ? rows : rows.slice(0, SHOWN)} sort=${sort} onSort=${setSort} keyOf=${(row) => row.caller_id_id} />
    ${!isAll && html`<div class="more"><${Button} onClick=${() => setAll(true)}>${t("history.all", { count: rows.length })}<//></div>`}
  <//>`;
}

function flagText({ flags }) {
  const told = KINDS.filter((kind) => flags[kind]).map((kind) => `${t(`flag.${kind}`)} × ${number(flags[kind])}`);
  return told.join(", ") || html`<span class="faint">–</span>`;
}
