// The server's time, and a tick every second.
import { Store } from "./store.js";

/** Seconds that the server's clock is ahead of this one. */
let ahead = 0;

/** Corrects this clock by a `Date` header, which has whole seconds: less than two is no difference. */
export function learnTime(header) {
  const told = Date.parse(header ?? "");
  if (Number.isNaN(told)) return;
  const difference = (told + 500 - Date.now()) / 1000;
  ahead = Math.abs(difference) < 2 ? 0 : difference;
}

/** The server's time in milliseconds. */
export function now() {
  return Date.now() + ahead * 1000;
}

/** Changes every second, on the second. */
export const tick = new Store(now());

function beat() {
  tick.set(now());
  setTimeout(beat, 1000 - (Date.now() % 1000) + 5);
}
beat();
