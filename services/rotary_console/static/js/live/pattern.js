// Fills that differ without their colours, for canvases.
import { color } from "./plot.js";

const SIZE = 6;
const STYLES = {
  blocked: ["--danger-solid", "plain"],
  spam_label: ["--cooldown-fill", "stripes"],
  user_report: ["--quota-fill", "dots"],
  rejected: ["--disabled-fill", "frame"],
  calls: ["--accent-solid", "plain"],
  resting: ["--cooldown-fill", "stripes"],
  health: ["--eligible-fill", "plain"],
  eligible: ["--eligible-fill", "plain"],
  cooldown: ["--cooldown-fill", "stripes"],
  quota_exceeded: ["--quota-fill", "dots"],
};
/** How strong the colour of an area is, behind its line. */
const AREA = 0.3;

/** The colour of a tone in the theme that is shown. */
export function toneColor(tone) {
  return color(STYLES[tone][0]);
}

/** What a canvas fills bars of a tone with; a soft one is for areas. It is made anew when the theme changes. */
export function toneFill(tone, isSoft = false) {
  const [name, style] = STYLES[tone];
  if (style === "plain" && !isSoft) return color(name);
  const ratio = devicePixelRatio;
  const tile = new OffscreenCanvas(SIZE * ratio, SIZE * ratio);
  const drawn = tile.getContext("2d");
  drawn.scale(ratio, ratio);
  const [ground, ink] = [color(isSoft ? "--surface" : name), color(isSoft ? name : "--surface")];
  drawn.fillStyle = ground;
  drawn.fillRect(0, 0, SIZE, SIZE);
  drawn.fillStyle = drawn.strokeStyle = ink;
  drawn.globalAlpha = isSoft ? AREA : style === "frame" ? 0.6 : 0.9;
  if (isSoft) drawn.fillRect(0, 0, SIZE, SIZE);
  if (isSoft) drawn.globalAlpha = 2 * AREA;
  draw[style](drawn);
  return drawn.createPattern(tile, "repeat");
}

const draw = {
  plain() {},
  stripes(drawn) {
    drawn.lineWidth = 1.4;
    drawn.beginPath();
    for (const shift of [-SIZE, 0, SIZE]) {
      drawn.moveTo(shift, SIZE);
      drawn.lineTo(shift + SIZE, 0);
    }
    drawn.stroke();
  },
  dots(drawn) {
    drawn.beginPath();
    drawn.arc(SIZE / 2, SIZE / 2, 1.1, 0, 2 * Math.PI);
    drawn.fill();
  },
  frame(drawn) {
    drawn.fillRect(0, 0, SIZE, SIZE / 2);
  },
};
