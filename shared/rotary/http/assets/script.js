
"use strict";
const byId = (id) => document.getElementById(id);

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function table(titles, rows) {
  const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

const code = (text) => element("code", {}, text);
const prose = (text) => text.split("`").map((part, at) => (at % 2 ? code(part) : part));
const title = (text) => element("h3", {}, text);
const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return element("a", { href: "#type-" + name }, name);
  }
  if (schema.anyOf) {
    const parts = schema.anyOf.flatMap((part, at) => (at ? [" or ", typeOf(part)] : [typeOf(part)]));
    return element("span", {}, ...parts);
  }
  if (schema.enum) return element("span", {}, schema.enum.join(", "));
  if (schema.type === "array") return element("span", {}, "array of ", typeOf(schema.items));
  if (typeof schema.additionalProperties === "object") {
    return element("span", {}, "object of ", typeOf(schema.additionalProperties));
  }
  const bounds = [];
  if (schema.format) bounds.push(schema.format);
  if (schema.minimum !== undefined) bounds.push("≥ " + schema.minimum);
  if (schema.maximum !== undefined && schema.maximum < 1e15) bounds.push("≤ " + schema.maximum);
  if (schema.maxLength !== undefined) bounds.push("≤ " + schema.maxLength + " characters");
  return element("span", {}, schema.type + (bounds.length ? " (" + bounds.join(", ") + ")" : ""));
}

function fields(schema) {
  const cells = ([name, of]) => [code(name), typeOf(of), element("span", {}, ...prose(of.description || ""))];
  return table(["Field", "Type", "Meaning"], Object.entries(schema.properties).map(cells));
}

function exampleOf(body) {
  if (body.example !== undefined) return body.example;
  const [first] = Object.values(body.examples || {});
  return first ? first.value : undefined;
}

function renderer(spec) {
  const resolve = (part) =>
    part.$ref ? part.$ref.slice(2).split("/").reduce((at, name) => at[name], spec) : part;

  function trial(path, method, operation) {
    const names = operation.parameters.map(resolve).filter((one) => one.in === "path");
    const inputs = names.map((one) =>
      element("input", { className: "id", name: one.name, value: String(one.example ?? ""), ariaLabel: one.description }));
    const content = operation.requestBody ? operation.requestBody.content["application/json"] : null;
    const body = content
      ? element("textarea", { rows: 6, spellcheck: false, ariaLabel: "Body", value: pretty(exampleOf(content)) })
      : null;
    const encoded = (text) => encodeURIComponent(text).replace(/[!'()*]/g, "");
    const url = () => inputs.reduce((at, input) => at.replace("{" + input.name + "}", encoded(input.value)), path);
    const verb = method.toUpperCase();
    const curl = element("pre", { tabIndex: 0 });
    const answer = element("pre", { tabIndex: 0, hidden: true, ariaLive: "polite" });
    const describe = () => {
      // Double quotes: a shell puts the token into them. Single quotes cannot be within single quotes.
      const data = body ? ` -H "Content-Type: application/json" -d '${body.value.replace(/'/g, "\\u0027")}'` : "";
      const how = verb === "GET" ? "" : ` -X ${verb}`;
      curl.textContent = `curl${how} -H "Authorization: Bearer $TOKEN"${data} "${location.origin}${url()}"`;
    };
    const send = async () => {
      answer.hidden = false;
      answer.textContent = "…";
      try {
        const headers = { Authorization: "Bearer " + byId("token").value };
        if (body) headers["Content-Type"] = "application/json";
        const response = await fetch(url(), { method: verb, headers, ...(body ? { body: body.value } : {}) });
        const text = await response.text();
        answer.textContent = "HTTP " + response.status + "\n" + pretty(text ? JSON.parse(text) : "");
      } catch (error) {
        answer.textContent = String(error);
      }
    };
    for (const input of body ? [...inputs, body] : inputs) input.addEventListener("input", describe);
    describe();
    const button = element("button", { type: "button", onclick: send }, "Send");
    button.dataset.operation = operation.operationId;
    return element("div", {}, curl, element("div", { className: "try" }, ...inputs, body, button), answer);
  }

  function card(path, method, operation) {
    const parameters = operation.parameters.map(resolve);
    const responses = Object.entries(operation.responses).map(([status, part]) => [status, resolve(part)]);
    const [, success] = responses.find(([status]) => status.startsWith("2"));
    const headers = Object.entries(success.headers || {}).map(([name, part]) => [code(name), resolve(part).description]);
    return element(
      "section", { id: operation.operationId },
      element("h2", {}, operation.summary),
      element("div", { className: "route" }, element("span", { className: "method" }, method.toUpperCase()), path),
      element("p", {}, ...prose(operation.description)),
      title("Parameters"),
      table(["Name", "In", "Meaning"], parameters.map((one) => [code(one.name), one.in, one.description])),
      title("Try it"),
      trial(path, method, operation),
      title("Answers"),
      ...Object.entries(success.content || {}).map(([type, body]) =>
        element("div", {}, code(type), element("pre", { tabIndex: 0 }, pretty(exampleOf(body))))),
      table(["Status", "When"], responses.map(([status, one]) => [code(status), one.description])),
      title("Headers of a success"),
      table(["Header", "Meaning"], headers),
    );
  }

  return { card };
}

function show(spec) {
  byId("title").textContent = spec.info.title + " " + spec.info.version;
  byId("summary").textContent = spec.info.summary;
  byId("description").append(...prose(spec.info.description));
  const { card } = renderer(spec);
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      byId("contents").append(element("a", { href: "#" + operation.operationId }, operation.summary));
      byId("operations").append(card(path, method, operation));
    }
  }
  byId("contents").append(element("a", { href: "#schemas-heading" }, "Types"));
  for (const [name, schema] of Object.entries(spec.components.schemas)) {
    byId("schemas").append(
      element("h3", { id: "type-" + name }, name),
      element("p", { className: "quiet" }, ...prose(schema.description || "")),
      schema.properties ? fields(schema) : typeOf(schema),
    );
  }
}

fetch("/openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => { byId("summary").textContent = "The API's description could not be loaded: " + error; });
