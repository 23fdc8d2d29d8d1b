// Tests that the pages name as proof exist.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const read = (file) => fs.readFileSync(path.join(ROOT, file), "utf8");

function sources(folder) {
  const entries = fs.readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(".rs"));
  return files.map((entry) => path.relative(ROOT, path.join(entry.parentPath ?? entry.path, entry.name)));
}

const GATEWAY = sources("crates/pregon/tests");
const functions = new Map();
for (const file of [...GATEWAY, ...sources("crates/capture/tests"), "crates/pregon/src/auth/tests.rs"]) {
  for (const [, name] of read(file).matchAll(/\bfn (\w+)\(/g)) functions.set(name, [...(functions.get(name) ?? []), file]);
}

test("each test that the page of security names is there, in its module", () => {
  const names = [...read("docs/security.md").matchAll(/`((?:[a-z_]+::)+[a-z_0-9]+|(?:[a-z]+_){3,}[a-z_]+)`/g)].map(([, name]) => name);
  assert.ok(names.length > 30, `${names.length}`);
  for (const name of names) {
    const [module] = name.split("::");
    const files = functions.get(name.split("::").at(-1)) ?? [];
    const own = (file) => !name.includes("::") || file.split("/").some((part) => part === module || part === `${module}.rs`);
    assert.ok(files.some(own), `${name} is in ${files.join(", ") || "no file"}`);
  }
});

test("each module that the README names as a promise's test is there, in both languages", () => {
  const modules = new Set(GATEWAY.map((file) => file.split("/")[3].replace(/\.rs$/, "")));
  for (const file of ["README.md", "README.es.md"]) {
    const table = read(file).split("\n").filter((line) => /^\|.*\| .*`.*`.* \|$/.test(line));
    assert.ok(table.length >= 10, `${file}: ${table.length}`);
    for (const line of table) {
      const cell = line.split("|").at(-2);
      for (const [, name] of cell.matchAll(/`(\w+)`/g)) assert.ok(modules.has(name), `${file}: ${name}`);
      for (const [, name] of cell.matchAll(/`(\w+\/[\w/]+)`/g)) assert.ok(fs.existsSync(path.join(ROOT, name)), `${file}: ${name}`);
    }
  }
});
