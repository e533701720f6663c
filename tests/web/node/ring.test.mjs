import assert from "node:assert/strict";
import { test } from "node:test";

import { makeChannel, openReader, openWriter } from "../../../anivoice/server/web/audio/ring.js";

for (const isShared of [true, false]) {
  test(`samples come out as they went in, ${isShared ? "shared" : "by messages"}`, async () => {
    const { writer, reader } = makeChannel(1000, isShared);
    const [inside, outside] = [openWriter(writer), openReader(reader)];
    const samples = Float32Array.from({ length: 300 }, (_, k) => k);
    inside.push(samples, 200);
    while (outside.availableRead() < 200) await new Promise((resolve) => setTimeout(resolve, 1));
    const got = new Float32Array(300);
    assert.equal(outside.pop(got, 300), 200);
    assert.deepEqual(got.subarray(0, 200), samples.subarray(0, 200));
    reader.port?.close();
  });
}
