// The one module that names the vendored libraries: everything else imports from here.
import { Component, Fragment, h, render } from "../vendor/preact/preact.js";
import htm from "../vendor/htm/htm.js";

export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact/hooks.js";
export { Component, Fragment, render };

/** Templates: html`<p class="hint">${text}</p>`. Text is always escaped. */
export const html = htm.bind(h);

/** A component that renders again only when `same(before, after)` is false for its props. */
export function memo(render, same) {
  return class extends Component {
    shouldComponentUpdate(next) {
      return !same(this.props, next);
    }

    render(props) {
      return render(props);
    }
  };
}
