// A chart of days: bars, stacked when there are several series, or a line; and the same as a table.
import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { Table } from "../components/table.js";
import { day, number } from "../format.js";
import { t } from "../i18n.js";
import { repaint } from "../theme.js";
import { useStore } from "../store.js";
import { color, loadPlot, useSize } from "./plot.js";

const TONES = {
  calls: "--accent-solid", resting: "--cooldown-fill", health: "--eligible-fill",
  spam_label: "--cooldown-fill", blocked: "--danger-solid", user_report: "--quota-fill", rejected: "--disabled-fill",
};
const HEIGHT = 180;

/** series: [{ name, values, tone }], a value a date; null is a gap. `most` fixes the top of the scale. */
export function DayChart({ title, dates, series, kind = "bars", most }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [width] = useSize(box);
  const [Plot, setPlot] = useState(null);
  const [at, setAt] = useState(null);
  const painted = useStore(repaint);
  const stacked = useMemo(() => stack(series), [series]);
  useEffect(() => {
    loadPlot().then((found) => setPlot(() => found));
  }, []);
  useEffect(() => {
    if (!Plot || !width) return undefined;
    // The tallest first: what is stacked on it is drawn behind it otherwise.
    const data = [dates.map((_, index) => index), ...stacked.toReversed()];
    plot.current = new Plot(options({ Plot, width, dates, series, kind, most, onHover: setAt }), data, box.current);
    return () => plot.current.destroy();
  }, [Plot, width, painted, stacked]);
  const columns = [
    { key: "date", label: t("history.day"), header: true, cell: (row) => day(row.date) },
    ...series.map(({ name, values }) => ({ key: name, label: name, numeric: true, cell: (row) => shown(values[row.index]) })),
  ];
  return html`<figure class="card chart-figure">
    <figcaption><b>${title}</b><span aria-hidden="true">${said(dates, series, at)}</span></figcaption>
    <div ref=${box} role="img" aria-label=${t("history.chart", { title, from: day(dates[0]), to: day(dates.at(-1)) })} style=${{ height: `${HEIGHT}px` }}></div>
    <details><summary>${t("history.table")}</summary>
      <${Table} caption=${title} columns=${columns} rows=${dates.map((date, index) => ({ id: date, date, index }))} />
    </details>
  </figure>`;
}

const shown = (value) => (value === null ? "–" : number(value));

/** The values of the day under the pointer, or the names of what is stacked. */
function said(dates, series, at) {
  if (at === null) return series.length > 1 ? series.map(({ name }) => name).join(" · ") : "";
  const values = series.map(({ name, values: all }) => (series.length > 1 ? `${name} ${shown(all[at])}` : shown(all[at])));
  return `${day(dates[at])}: ${values.join(" · ")}`;
}

function stack(series) {
  const sums = new Array(series[0].values.length).fill(0);
  return series.map(({ values }) => values.map((value, index) => (value === null ? null : (sums[index] += value))));
}

function options({ Plot, width, dates, series, kind, most, onHover }) {
  const axis = { stroke: color("--text-faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px Inter, sans-serif" };
  const bars = Plot.paths.bars({ size: [0.7, 40], radius: 0.15 });
  const line = ({ name, tone }) => {
    const drawn = color(TONES[tone]);
    if (kind === "line") return { label: name, stroke: drawn, width: 2, points: { show: true, size: 5, fill: drawn } };
    return { label: name, fill: drawn, stroke: color("--surface"), width: series.length > 1 ? 1 : 0, paths: bars, points: { show: false } };
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { x: kind === "line", y: false, points: { show: kind === "line" }, drag: { x: false, y: false } },
    hooks: { setCursor: [({ cursor }) => onHover(cursor.idx ?? null)] },
    scales: {
      x: { time: false, range: (_, first, last) => [first - 0.6, last + 0.6] },
      y: { range: (_, __, top) => [0, most ?? Math.max(1, top * 1.05)] },
    },
    series: [{}, ...series.toReversed().map(line)],
    axes: [
      { ...axis, grid: { show: false }, size: 26, space: 64, incrs: [1, 2, 5, 7, 14], values: (_, marks) => marks.map((mark) => (dates[mark] ? day(dates[mark]) : "")) },
      { ...axis, size: 44, space: 34, values: (_, marks) => marks.map((mark) => number(mark)) },
    ],
  };
}
