// Parts of a page that are loaded when they are first shown.
import { html, useEffect, useState } from "../preact.js";

/** A component in place of `name` of the module that `load` imports; nothing is shown until it is here. */
export function lazy(load, name) {
  let loaded = null;
  return function Lazy(props) {
    const [, setReady] = useState(loaded !== null);
    useEffect(() => {
      if (loaded) return;
      load().then((module) => {
        loaded = module[name];
        setReady(true);
      });
    }, []);
    return loaded && html`<${loaded} ...${props} />`;
  };
}
