// Runs the script of /docs on a document, in a DOM of just what the script uses, and prints what a reader sees as JSON:
// texts by element, and the curl lines. Usage: node docs_page.mjs page.html openapi.json
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const [page, description] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const all = [];

class Element {
  constructor(name) {
    Object.assign(this, { name, children: [], dataset: {}, listeners: {} });
    all.push(this);
  }
  append(...children) {
    if (children.some((one) => one === undefined || one === null)) throw new Error(`nothing in ${this.name}`);
    this.children.push(...children);
  }
  addEventListener(event, listener) { this.listeners[event] = listener; }
}

const named = {};
globalThis.document = {
  createElement: (name) => new Element(name),
  getElementById: (id) => (named[id] ??= new Element(id)),
};
globalThis.location = { origin: "http://host" };
globalThis.fetch = async () => ({ json: async () => JSON.parse(description) });
runInThisContext(page.match(/<script>([^]*)<\/script>/)[1]);
await new Promise((done) => setTimeout(done, 0));

const textOf = (one) => (typeof one === "string" ? one : [one.textContent ?? "", ...one.children.map(textOf)].join(""));
const curls = all.filter((one) => one.name === "pre" && (one.textContent ?? "").startsWith("curl")).map((one) => one.textContent);
console.log(JSON.stringify({ summary: textOf(named.summary), operations: textOf(named.operations), schemas: textOf(named.schemas), curls }));
