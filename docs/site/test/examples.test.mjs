// What the pages tell a reader to write works: configurations pass `pregon check`, commands exist.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const BINARY = process.env.PREGON_BIN ?? path.join(ROOT, "target/release/pregon");
const SECRETS = { DATABASE_URL: "postgres://gateway@localhost/shop", JWT_SECRET: "0".repeat(64), MESSAGE_KEY: "0".repeat(64), STRIPE_SECRET: "x",
  WHATSAPP_APP_SECRET: "x", WHATSAPP_VERIFY_TOKEN: "x", WHATSAPP_TOKEN: "x" };
// A page shows a part of a file: what is missing around it is no mistake.
const CONTEXT = /needs a database|no source is called|no key is configured/;

const list = (folder, name) => fs.readdirSync(path.join(ROOT, folder)).map((entry) => path.join(folder, entry, name)).filter((file) => fs.existsSync(path.join(ROOT, file)));
const PAGES = ["README.md", "README.es.md", ...list("docs", "").filter((file) => file.endsWith(".md")), ...list("examples", "README.md")];
const read = (page) => fs.readFileSync(path.join(ROOT, page), "utf8");

function run(args, env = {}) {
  assert.ok(fs.existsSync(BINARY), `${BINARY} is missing: cargo build --release -p pregon`);
  return spawnSync(BINARY, args, { encoding: "utf8", env: { PATH: process.env.PATH, ...env } });
}

test("every configuration on a page is one", (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pregon-pages-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, "pregon.toml");
  let count = 0;
  for (const page of PAGES) {
    for (const [, text] of read(page).matchAll(/```toml\n([\s\S]*?)```/g)) {
      fs.writeFileSync(file, text);
      const { status, stdout, stderr } = run(["check", "--config", file], SECRETS);
      const problems = (stdout + stderr).split("\n").filter((line) => line.startsWith(file) || line.includes("pregon.toml:"));
      const wrong = status === 0 ? [] : problems.filter((line) => !CONTEXT.test(line));
      assert.deepEqual(wrong, [], `${page}:\n${text}`);
      assert.ok(status === 0 || problems.length > 0, `${page}: ${stdout}${stderr}`);
      count++;
    }
  }
  assert.ok(count > 20, `${count}`);
});

test("a page with a wrong key would be found", (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pregon-pages-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "pregon.toml"), "[server]\nlisen = \"x\"\n");
  const { status, stdout, stderr } = run(["check", "--config", path.join(folder, "pregon.toml")]);
  assert.equal(status, 1);
  assert.match(stdout + stderr, /pregon\.toml:.*lisen/);
});

test("every command on a page is one", () => {
  const commands = new Set(/Commands:\n([\s\S]*?)\n\n/.exec(run(["--help"]).stdout)[1].split("\n").map((line) => /^ {2}([a-z]+)/.exec(line)?.[1]).filter(Boolean));
  assert.ok(commands.has("serve"));
  for (const page of PAGES) {
    for (const [line, command] of read(page).matchAll(/^ {4}(?:\S+=\S+ )*pregon ([a-z]+).*$/gm)) assert.ok(commands.has(command), `${page}: ${line}`);
  }
});
