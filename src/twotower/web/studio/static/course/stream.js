/* Server-sent events of a POST request: `EventSource` can send neither a body nor an API key. */

import * as key from "../shared/key.js";
import { reach, ServiceError } from "../shared/http.js";

/** Send a job and call `heard(event)` for each of its events; aborting `signal` cancels the job. */
export async function follow(path, body, heard, signal) {
  if (!(await key.permits("read"))) {
    throw new ServiceError(401, "no_key", "This requires an API key with the scope “read”.", "enter one with the key button in the header");
  }
  const answer = await reach(path, { method: "POST", headers: { "Content-Type": "application/json", ...key.headers() }, body: JSON.stringify(body), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) if (block.startsWith("data: ")) heard(JSON.parse(block.slice(6)));
  }
}
