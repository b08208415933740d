// uPlot, which is loaded when something is drawn, and what drawings need from the page.
import { useEffect, useState } from "../preact.js";
import { addStyles } from "../styles.js";

let loaded = null;

/** The constructor. */
export function loadPlot() {
  loaded ??= Promise.all([
    import("../../vendor/uplot/uplot.js"),
    addStyles(new URL("../../vendor/uplot/uplot.css", import.meta.url)),
  ]).then(([module]) => module.default);
  return loaded;
}

/** The value of a colour in the theme that is shown: a canvas does not know CSS variables. */
export function color(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The width and height of an element, whenever they change; zeros before they are known. */
export function useSize(ref) {
  const [size, setSize] = useState([0, 0]);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      setSize((old) => (old[0] === width && old[1] === height ? old : [width, height]));
    });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return size;
}
