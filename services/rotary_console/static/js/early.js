// Runs before the first paint, so that a chosen theme and language are there from the beginning.
{
  const kept = (name) => {
    try {
      return localStorage.getItem(`rotary.${name}`);
    } catch {
      return null; // storage is switched off
    }
  };
  const root = document.documentElement;
  if (kept("theme")) root.dataset.theme = kept("theme");
  if (kept("language")) root.lang = kept("language");
}
