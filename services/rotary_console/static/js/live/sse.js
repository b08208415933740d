// Server-sent events out of a response's body.

/**
 * Yields { name, id, data } for each event, and { name: "" } for a comment, which tells that the server is there.
 * Ends with the stream.
 */
export async function* sseEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) yield event(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function event(block) {
  const found = { name: "", id: "", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const value = line.slice(at + 1).replace(/^ /, "");
    if (line.startsWith("event:")) found.name = value;
    else if (line.startsWith("id:")) found.id = value;
    else if (line.startsWith("data:")) found.data = found.data ? `${found.data}\n${value}` : value;
  }
  return found;
}
