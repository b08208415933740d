// The numbers of a group since the page was opened, as areas on each other.
import { html, useEffect, useRef, useState } from "../preact.js";
import { now, tick } from "../clock.js";
import { language, locale, t } from "../i18n.js";
import { number } from "../format.js";
import { repaint } from "../theme.js";
import { useStore } from "../store.js";
import { toneColor, toneFill } from "./pattern.js";
import { color, loadPlot, useSize } from "./plot.js";

const KEPT = 7200;
const AREAS = ["eligible", "cooldown", "quota_exceeded"];

/** What was counted, second by second: columns of times, and of the tops of the areas. */
export class Samples {
  constructor() {
    this.columns = [[], ...AREAS.map(() => [])];
  }

  /** What holds at a moment, in seconds; null if that is not known. Of one second only the last is kept. */
  add(at, counts) {
    const second = Math.floor(at);
    const [times] = this.columns;
    let top = 0;
    const values = [second, ...AREAS.map((area) => (counts === null ? null : (top += counts[area])))];
    const isSame = times.at(-1) === second;
    for (const [index, column] of this.columns.entries()) {
      if (isSame) column[column.length - 1] = values[index];
      else column.push(values[index]);
      if (column.length > KEPT) column.shift();
    }
  }
}

/** The highest area comes first: those below are drawn over it. */
function backToFront([times, ...tops]) {
  return [times, ...tops.toReversed()];
}

/** `counts` now; null while they are not current: there is a gap then. A large one fills the space that it has. */
export function Strip({ counts, total, isLarge = false }) {
  const samples = useRef(null);
  samples.current ??= new Samples();
  const box = useRef(null);
  const plot = useRef(null);
  const [width, height] = useSize(box);
  const [Plot, setPlot] = useState(null);
  const painted = useStore(repaint);
  const second = useStore(tick);
  useEffect(() => {
    loadPlot().then((found) => setPlot(() => found));
  }, []);
  useEffect(() => {
    samples.current.add(now() / 1000, counts);
    plot.current?.setData(backToFront(samples.current.columns));
  }, [second]);
  useEffect(() => {
    if (!Plot || !width || !height) return undefined;
    plot.current = new Plot(options({ Plot, width, height, total, isLarge }), backToFront(samples.current.columns), box.current);
    return () => {
      plot.current.destroy();
      plot.current = null;
    };
  }, [Plot, width, height, total, painted]);
  const said = counts && AREAS.map((area) => `${t(`status.${area}`)} ${number(counts[area])}`).join(", ");
  return html`<figure class=${`strip ${isLarge ? "large" : ""}`}>
    <figcaption>${t("strip.title")}<ul aria-hidden="true">${AREAS.map((area) => html`<${Key} key=${area} area=${area} />`)}</ul></figcaption>
    <div class="drawing" ref=${box} role="img" aria-label=${t("strip.label", { now: said ?? "" })}></div>
  </figure>`;
}

function Key({ area }) {
  return html`<li class=${area}><span class="swatch"></span>${t(`status.${area}`)}</li>`;
}

function options({ Plot, width, height, total, isLarge }) {
  const axis = { stroke: color("--text-faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: `${isLarge ? 16 : 11}px Inter, sans-serif` };
  const area = (name) => ({
    label: name,
    stroke: toneColor(name),
    fill: toneFill(name, true),
    width: isLarge ? 3 : 1.5,
    points: { show: false },
    paths: Plot.paths.stepped({ align: 1 }),
  });
  return {
    width,
    height,
    padding: [8, isLarge ? 40 : 26, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_, first, last) => [Math.min(first, last - 15), last] },
      y: { range: (_, __, most) => [0, Math.max(total, most, 1)] },
    },
    series: [{}, ...AREAS.toReversed().map(area)],
    axes: [
      { ...axis, size: isLarge ? 34 : 24, space: isLarge ? 160 : 90, values: (_, marks) => marks.map(timeOfDay) },
      { ...axis, size: isLarge ? 52 : 36, space: isLarge ? 56 : 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
    ],
  };
}

function timeOfDay(seconds) {
  const style = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return new Date(seconds * 1000).toLocaleTimeString(locale(), style);
}
