// A value that components watch.
import { useEffect, useState } from "./preact.js";

export class Store {
  #listeners = new Set();

  constructor(value) {
    this.value = value;
  }

  set(value) {
    if (value === this.value) return;
    this.value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  /** Calls `listener` with each new value; returns what ends that. */
  watch(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The store's value now; the component renders again when it changes. */
export function useStore(store) {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(() => store.value); // it may have changed between the render and now
    return store.watch((next) => setValue(() => next));
  }, [store]);
  return value;
}

/** What this browser remembers for us; null when it remembers nothing or storage is switched off. */
export const memory = {
  get(name) {
    try {
      return localStorage.getItem(`rotary.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`rotary.${name}`);
      else localStorage.setItem(`rotary.${name}`, value);
    } catch {
      // Forgotten with the page: nothing depends on it.
    }
  },
};
