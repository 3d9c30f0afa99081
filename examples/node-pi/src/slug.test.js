import assert from "node:assert/strict";
import { test } from "node:test";
import { slug } from "./slug.js";

test("accents and punctuation become plain words", () => {
  assert.equal(slug("  Où est la gare?"), "ou-est-la-gare");
});
