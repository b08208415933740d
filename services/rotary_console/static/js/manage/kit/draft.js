// What somebody has typed and not saved. It outlives its page, and the end of a session, until it is saved or thrown away.
import { useRef, useState } from "../../preact.js";
import { customer, session } from "../../session.js";

const drafts = new Map();

addEventListener("beforeunload", (event) => {
  if (drafts.size) event.preventDefault();
});

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/**
 * A value that is being edited: { value, base, etag, isDirty, wasKept, set, rebase, discard }. `base` is what it began as, in
 * the version `etag`. If there is a draft of that name it goes on with that, and `wasKept` is true.
 */
export function useDraft(name, base, etag = null) {
  const key = `${session.value.user.id} ${customer.value.id} ${name}`;
  const [state, setState] = useState(() => drafts.get(key) ?? { base, etag, value: base });
  const [wasKept] = useState(() => drafts.has(key));
  const latest = useRef(state);
  const put = (next) => {
    latest.current = next;
    if (isSame(next.value, next.base)) drafts.delete(key);
    else drafts.set(key, next);
    setState(next);
  };
  return {
    ...state,
    isDirty: !isSame(state.value, state.base),
    wasKept,
    latest,
    /** Replaces the value. */
    set: (value) => put({ ...latest.current, value }),
    /** Goes on from another version, with a value of its own or as it is. */
    rebase: (newBase, newEtag, value = newBase) => put({ base: newBase, etag: newEtag, value }),
    /** Back to what it began as. */
    discard: () => put({ ...latest.current, value: latest.current.base }),
    /** It is saved: there is nothing to keep. */
    forget: () => drafts.delete(key),
  };
}
