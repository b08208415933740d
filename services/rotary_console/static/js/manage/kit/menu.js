// A button with what can be done to a row.
import { html, useId, useLayoutEffect, useRef, useState } from "../../preact.js";
import { Button } from "../../components/controls.js";
import { Icon } from "../../components/icons.js";

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

/** items: [{ icon, text, onSelect, href, danger }]; entries that are false are left out. */
export function Menu({ label, items }) {
  const [place, setPlace] = useState(null);
  const opener = useRef(null);
  const id = useId();
  const shown = items.filter(Boolean);
  const close = () => {
    setPlace(null);
    opener.current?.querySelector("button").focus();
  };
  const open = () => {
    const { bottom, top, right } = opener.current.getBoundingClientRect();
    const isAbove = bottom + 44 * shown.length + 16 > innerHeight && top > innerHeight / 2;
    setPlace({ right: `${innerWidth - right}px`, ...(isAbove ? { bottom: `${innerHeight - top + 4}px` } : { top: `${bottom + 4}px` }) });
  };
  if (!shown.length) return null;
  return html`<span class="menu-opener" ref=${opener}>
    <${Button} kind="quiet" icon="more" label=${label} aria-haspopup="menu" aria-expanded=${String(place !== null)}
      aria-controls=${place ? id : undefined} onClick=${() => (place ? close() : open())} />
    ${place && html`<${Items} ...${{ id, label, place, items: shown, onClose: close }} />`}
  </span>`;
}

function Items({ id, label, place, items, onClose }) {
  const list = useRef(null);
  useLayoutEffect(() => {
    list.current.showPopover();
    list.current.querySelector("[role=menuitem]").focus();
    const outside = (event) => list.current?.contains(event.target) || onClose();
    const away = () => onClose();
    // After the click that opened it.
    const timer = setTimeout(() => document.addEventListener("pointerdown", outside), 0);
    addEventListener("resize", away);
    addEventListener("scroll", away, true);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("pointerdown", outside);
      removeEventListener("resize", away);
      removeEventListener("scroll", away, true);
    };
  }, []);
  const move = (event) => {
    const all = [...list.current.querySelectorAll("[role=menuitem]")];
    const at = all.indexOf(document.activeElement);
    if (event.key in STEPS) all[(at + STEPS[event.key] + all.length) % all.length].focus();
    else if (event.key === "Home") all[0].focus();
    else if (event.key === "End") all.at(-1).focus();
    else if (event.key === "Escape" || event.key === "Tab") onClose();
    else return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="menu" id=${id} ref=${list} popover="manual" role="menu" aria-label=${label} style=${place} onKeyDown=${move}>
    ${items.map((item) => html`<${Item} key=${item.text} ...${item} onClose=${onClose} />`)}
  </div>`;
}

function Item({ icon, text, onSelect, href, danger, onClose }) {
  const props = { role: "menuitem", tabindex: "-1", class: danger ? "danger" : "" };
  if (href) return html`<a ...${props} href=${href} onClick=${onClose}><${Icon} name=${icon} />${text}</a>`;
  const select = () => {
    onClose();
    onSelect();
  };
  return html`<button type="button" ...${props} onClick=${select}><${Icon} name=${icon} />${text}</button>`;
}
