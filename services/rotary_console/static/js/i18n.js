// Every visible text, in the language of the person who reads it.
import { memory, Store } from "./store.js";

export const LANGUAGES = { en: "English", vi: "Tiếng Việt" };

/** The language shown; its dictionaries are there. */
export const language = new Store("en");

const loaders = new Map([["shell", (code) => import(`./i18n/${code}.js`)]]);
let chosen = "en";
let messages = {};
let plural = new Intl.PluralRules("en");

/** The language to begin with: what was chosen here before, or else what the browser prefers. */
export function preferredLanguage() {
  const wanted = [memory.get("language"), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return wanted.find((code) => code in LANGUAGES) ?? "en";
}

/** The locale for numbers and dates: the browser's own variant of the language, or the plain language. */
export function locale() {
  return navigator.languages.find((tag) => tag.slice(0, 2) === language.value) ?? language.value;
}

/** Shows another language, once all its dictionaries are here. The one that was chosen last stays. */
export async function setLanguage(code) {
  chosen = code;
  await loadDictionaries();
  memory.set("language", language.value);
}

/** Adds a part's dictionaries: `load(code)` imports the module whose default export is one. Returns when it is here. */
export async function addDictionaries(part, load) {
  loaders.set(part, load);
  await loadDictionaries();
}

async function loadDictionaries() {
  let code, count, found;
  do { // again when, meanwhile, another language was chosen or a part added
    code = chosen;
    count = loaders.size;
    found = await Promise.all([...loaders.values()].map((load) => load(code)));
  } while (code !== chosen || count !== loaders.size);
  messages = Object.assign({}, ...found.map((module) => module.default));
  plural = new Intl.PluralRules(code);
  document.documentElement.lang = code;
  language.set(code);
}

/**
 * The text of a key. `{name}` stands for `values.name`. A text with plural forms is an object, from which
 * `values.count` chooses: { one: "{count} number", other: "{count} numbers" }.
 */
export function t(key, values = {}) {
  return parts(key, values).join("");
}

/** As `t`, but values may be elements: an array of children for a template. */
export function parts(key, values = {}) {
  const found = messages[key] ?? key;
  const text = typeof found === "string" ? found : (found[plural.select(values.count)] ?? found.other);
  return text.split(/\{(\w+)\}/).map((part, index) => (index % 2 ? shown(values[part]) : part));
}

/** Whether there is a text for a key. */
export function has(key) {
  return key in messages;
}

function shown(value) {
  return typeof value === "number" ? value.toLocaleString(locale()) : value;
}
