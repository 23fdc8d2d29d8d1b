#!/usr/bin/env node
// Writes the site to target/docs (or the folder that is named) and fails on every link that leads nowhere.
// Needs no network: everything comes from this repository and node_modules.

import path from "node:path";
import { fileURLToPath } from "node:url";
import { SECTIONS } from "./pages.mjs";
import { build } from "./lib/site.mjs";
import { deadLinks } from "./lib/links.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const out = path.resolve(process.argv[2] ?? path.join(root, "target/docs"));

const { pages, problems } = build(root, SECTIONS, out);
const dead = [...problems, ...deadLinks(out)];
for (const problem of dead) console.error(`docs: ${problem}`);
console.log(`docs: ${pages.length} pages in ${path.relative(process.cwd(), out) || out}`);
process.exitCode = dead.length > 0 ? 1 : 0;
