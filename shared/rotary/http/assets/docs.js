// Renders the OpenAPI document of this service with Swagger UI, which comes from npm: infra/vendor.toml.
"use strict";

/** How long "Try it out" reads an event stream, which has no end of its own. */
const STREAM_MILLISECONDS = 3000;

/** Fetches, and ends an event stream after a while: the renderer shows an answer when it has all of it. */
async function fetchBounded(url, request) {
  const abort = new AbortController();
  const response = await fetch(url, { ...request, signal: abort.signal });
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) return response;
  const timer = setTimeout(() => abort.abort(), STREAM_MILLISECONDS);
  const text = await textUntilEnd(response.body.getReader(), abort.signal);
  clearTimeout(timer);
  const { status, statusText, headers } = response;
  return Object.defineProperty(new Response(text, { status, statusText, headers }), "url", { value: response.url });
}

async function textUntilEnd(reader, signal) {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += decoder.decode(part.value, { stream: true });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return text;
}

/** The renderer has colours for the dark, and leaves it to the page when to use them. */
function followColourScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

/** What the renderer lacks for keyboards and screen readers: names of fields, and no link inside a button. */
function accessible({ React: { createElement: create } }) {
  const named = (name) => (Field) => (props) => create(Field, { ...props, "aria-label": name });
  const token = { "aria-label": "Token", autoComplete: "off", spellCheck: false };
  return {
    components: {
      DeepLink: ({ text }) => create("span", null, text),
      // The document has one server, the one that answered it.
      ServersContainer: () => null,
    },
    wrapComponents: {
      Input: (Input) => (props) => create(Input, props.id === "auth-bearer-value" ? { ...props, ...token } : props),
      TextArea: named("Request body"),
      ExamplesSelect: (Select) => (props) =>
        create("label", null, create("span", { className: "unseen" }, "Example"), create(Select, props)),
      HighlightCode: (Code) => (props) => create("div", { className: "scrolled", tabIndex: 0 }, create(Code, props)),
    },
  };
}

followColourScheme();
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [accessible],
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  syntaxHighlight: { theme: "tomorrow-night" },
  // The token is kept in this page's memory alone, and nothing is sent to a validator elsewhere.
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor: (request) => Object.assign(request, { userFetch: fetchBounded }),
});
