// Server-sent events out of a response's body.

/**
 * Yields what has arrived together: arrays of { name, id, data }, one for each event, and { name: "" } for a comment, which
 * tells that the server is there. Ends with the stream.
 */
export async function* sseBatches(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      if (blocks.length) yield blocks.map(event);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The same, one by one. */
export async function* sseEvents(body) {
  for await (const batch of sseBatches(body)) yield* batch;
}

function event(block) {
  const found = { name: "", id: "", data: "" };
  for (const line of block.split("\n")) {
    const value = line.slice(line.indexOf(":") + 1).replace(/^ /, "");
    if (line.startsWith("event:")) found.name = value;
    else if (line.startsWith("id:")) found.id = value;
    else if (line.startsWith("data:")) found.data = found.data ? `${found.data}\n${value}` : value;
  }
  return found;
}
