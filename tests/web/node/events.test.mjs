import assert from "node:assert/strict";
import { test } from "node:test";

import { readEvents } from "../../../anivoice/server/web/common/event-stream.js";

test("events are read as they come, however the text is cut; comments are passed over", async () => {
  const request = { text: "", onText: () => {} };
  const pieces = ["event: received\ndata: {\"job\":", " 1}\n\n: nothing yet\n\neve", 'nt: done\ndata: {"url": "/x"}\n\n'];
  const done = (async () => {
    for (const piece of pieces) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      request.text += piece;
      request.onText();
    }
  })();
  const seen = [];
  for await (const event of readEvents(request, done)) seen.push(event);
  assert.deepEqual(seen, [{ name: "received", data: { job: 1 } }, { name: "done", data: { url: "/x" } }]);
});

test("what breaks the request breaks the reading", async () => {
  const request = { text: "", onText: () => {} };
  const reading = async () => {
    for await (const event of readEvents(request, Promise.reject(new Error("broken")))) assert.fail(event);
  };
  await assert.rejects(reading, /broken/);
});
