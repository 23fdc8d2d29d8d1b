// The site is built from the repository, works without a network, and has no link that leads nowhere.

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { SECTIONS } from "../pages.mjs";
import { build } from "../lib/site.mjs";
import { deadLinks } from "../lib/links.mjs";
import { slug } from "../lib/markdown.mjs";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");

function scratch(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pregon-docs-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

function repository(t, files) {
  const root = scratch(t);
  for (const [name, text] of Object.entries({ "README.md": "# Here", "docs/one.md": "# One", ...files })) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  }
  const out = path.join(root, "out");
  const { problems, pages } = build(root, [{ title: "Start", pages: ["README.md"] }], out);
  return { out, pages, dead: [...problems, ...deadLinks(out)] };
}

test("every link and every anchor of our pages leads somewhere", (t) => {
  const out = scratch(t);
  const { pages, problems } = build(ROOT, SECTIONS, out);
  assert.deepEqual([...problems, ...deadLinks(out)], []);
  for (const { source, title } of pages) assert.notEqual(title, source, `${source} has no title`);
});

test("every page that the menu names is there", () => {
  const missing = SECTIONS.flatMap(({ pages }) => pages).filter((page) => !fs.existsSync(path.join(ROOT, page)));
  assert.deepEqual(missing, []);
});

test("the site asks no other server for anything", (t) => {
  const out = scratch(t);
  build(ROOT, SECTIONS, out);
  for (const name of fs.readdirSync(out, { recursive: true }).filter((name) => name.endsWith(".html"))) {
    const html = fs.readFileSync(path.join(out, name), "utf8");
    assert.doesNotMatch(html, /<(?:script|img|iframe)[^>]*src="(?:https?:)?\/\//, name);
    assert.doesNotMatch(html, /<link[^>]*href="(?:https?:)?\/\//, name);
  }
});

test("dead links are found: files, anchors, and what lies outside", (t) => {
  const text = "# Here\n[a](docs/none.md) [b](docs/one.md#none) [c](#none) [d](../outside.md) [e](docs/one.md#one)";
  const { dead } = repository(t, { "README.md": text });
  assert.ok(!dead.some((line) => line.includes("one.html#one")), dead.join("\n"));
  for (const wanted of ["docs/none.md", "docs/one.html#none", "#none", "../outside.md"]) {
    assert.ok(dead.some((line) => line.includes(`links to ${wanted}`)), `${wanted}: ${dead.join("\n")}`);
  }
});

test("a page of docs that no section names is in the menu; files and folders that are linked are shown", (t) => {
  const { out, pages, dead } = repository(t, {
    "README.md": "# Here\n[folder](deploy) [code](deploy/a.toml)",
    "deploy/a.toml": 'key = "<value>"',
  });
  assert.deepEqual(dead, []);
  assert.deepEqual(pages.map(({ source }) => source), ["README.md", "docs/one.md"]);
  assert.match(fs.readFileSync(path.join(out, "deploy/index.html"), "utf8"), /href="a\.toml\.html"/);
  assert.match(fs.readFileSync(path.join(out, "deploy/a.toml.html"), "utf8"), /&lt;value&gt;/);
});

test("anchors are those of code hosts", () => {
  assert.equal(slug("Nothing twice, nothing lost"), "nothing-twice-nothing-lost");
  assert.equal(slug("`[postgres.outbox]`"), "postgresoutbox");
  assert.equal(slug("Qué promete"), "qué-promete");
});
