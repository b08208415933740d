// Light, dark, or what the system says.
import { memory, Store } from "./store.js";

export const THEMES = ["system", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The choice: one of THEMES. */
export const theme = new Store(memory.get("theme") ?? "system");
/** Counts the changes of what is shown, for drawings whose colours CSS can't reach. */
export const repaint = new Store(0);

export function setTheme(choice) {
  memory.set("theme", choice === "system" ? null : choice);
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  theme.set(choice);
  repaint.set(repaint.value + 1);
}

/** Whether the page is dark now. */
export function isDark() {
  return theme.value === "dark" || (theme.value === "system" && dark.matches);
}

dark.addEventListener("change", () => repaint.set(repaint.value + 1));
