// A chart of days: bars, stacked when there are several series, or a line; and the same as a table.
import { html, useEffect, useMemo, useRef, useState } from "../preact.js";
import { Table } from "../components/table.js";
import { day, number } from "../format.js";
import { t } from "../i18n.js";
import { repaint } from "../theme.js";
import { useStore } from "../store.js";
import { toneColor, toneFill } from "./pattern.js";
import { color, loadPlot, useSize } from "./plot.js";

const HEIGHT = 180;

/** series: [{ name, values, tone }], a value a date; null is a gap. `most` fixes the top of the scale. */
export function DayChart({ title, dates, series, kind = "bars", most }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [width] = useSize(box);
  const [Plot, setPlot] = useState(null);
  const [at, setAt] = useState(null);
  const painted = useStore(repaint);
  const stacked = useMemo(() => stack(series, kind === "line"), [series]);
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
    <figcaption><b>${title}</b>
      ${at === null && series.length > 1 ? html`<${Keys} series=${series} />` : html`<span aria-hidden="true">${said(dates, series, at)}</span>`}
    </figcaption>
    <div ref=${box} role="img" aria-label=${t("history.chart", { title, from: day(dates[0]), to: day(dates.at(-1)) })} style=${{ height: `${HEIGHT}px` }}></div>
    <details><summary>${t("history.table")}</summary>
      <${Table} caption=${title} columns=${columns} rows=${dates.map((date, index) => ({ id: date, date, index }))} />
    </details>
  </figure>`;
}

const shown = (value) => (value === null ? "–" : number(value));

/** What is stacked. */
function Keys({ series }) {
  return html`<ul aria-hidden="true">${series.map(({ name, tone }) => html`<li key=${tone}><${Swatch} tone=${tone} />${name}</li>`)}</ul>`;
}

function Swatch({ tone }) {
  const canvas = useRef(null);
  const painted = useStore(repaint);
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    context.fillStyle = toneFill(tone);
    context.fillRect(0, 0, canvas.current.width, canvas.current.height);
  }, [tone, painted]);
  const size = 12 * devicePixelRatio;
  return html`<canvas class="pattern" ref=${canvas} width=${size} height=${size}></canvas>`;
}

/** The values of the day under the pointer. */
function said(dates, series, at) {
  if (at === null) return "";
  const values = series.map(({ name, values: all }) => (series.length > 1 ? `${name} ${shown(all[at])}` : shown(all[at])));
  return `${day(dates[at])}: ${values.join(" · ")}`;
}

/** The tops of what is stacked; null where nothing is drawn. */
function stack(series, isLine) {
  const sums = new Array(series[0].values.length).fill(0);
  return series.map(({ values }) => values.map((value, index) => (value ? (sums[index] += value) : value === 0 && isLine ? 0 : null)));
}

function options({ Plot, width, dates, series, kind, most, onHover }) {
  const axis = { stroke: color("--text-faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px Inter, sans-serif" };
  const bars = Plot.paths.bars({ size: [0.7, 40], radius: 0.15 });
  const line = ({ name, tone }) => {
    const drawn = toneColor(tone);
    if (kind === "line") return { label: name, stroke: drawn, width: 2, points: { show: true, size: 5, fill: drawn } };
    return { label: name, fill: toneFill(tone), stroke: drawn, width: 1, paths: bars, points: { show: false } };
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
