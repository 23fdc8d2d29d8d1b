// The packages as they are installed: small, usable in plain Node and by a bundler, with types.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, onTestFinished, test } from "vitest";
import { repository } from "../support/gateway";
import { scratch } from "../support/process";

const workspace = join(import.meta.dirname, "../..");
const NAMES = ["client", "react", "publisher"];

/** Bytes over the wire, gzipped, of everything that the client exports. */
const MOST = 6_000;

test("the client has less than 6 kB and no dependencies", async () => {
  const entry = join(workspace, "packages/client/dist/index.js");
  const result = await build({ entryPoints: [entry], bundle: true, minify: true, format: "esm", target: "es2022", write: false });
  const size = gzipSync(result.outputFiles[0]!.contents, { level: 9 }).length;
  console.log(`@pregon/client: ${size} bytes`);
  expect(size).toBeLessThan(MOST);
  const manifest = JSON.parse(readFileSync(join(workspace, "packages/client/package.json"), "utf8"));
  expect([manifest.dependencies, manifest.peerDependencies]).toEqual([undefined, undefined]);
});

test.each(NAMES)("@pregon/%s packs its code, its types, its README and nothing else", (name) => {
  const folder = join(workspace, "packages", name);
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: folder, encoding: "utf8" }));
  const files: string[] = packed.files.map(({ path }: { path: string }) => path);
  expect(files).toEqual(expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "README.md", "package.json", "LICENSE"]));
  expect(files.filter((path) => !/^(dist\/.*\.(js|d\.ts)|README\.md|LICENSE|package\.json)$/.test(path))).toEqual([]);
});

test("a project of its own finds them in Node, and its types hold", () => {
  const project = scratch("project");
  onTestFinished(project.remove);
  symlinkSync(join(workspace, "node_modules"), join(project.path, "node_modules"));
  writeFileSync(join(project.path, "package.json"), '{"type":"module"}');
  writeFileSync(
    join(project.path, "run.mjs"),
    'import { createClient } from "@pregon/client"; import "@pregon/react"; import "@pregon/client/bare"; import "@pregon/publisher"; console.log(createClient({ url: "http://x" }).status);',
  );
  expect(execFileSync(process.execPath, ["run.mjs"], { cwd: project.path, encoding: "utf8" })).toBe("idle\n");

  writeFileSync(join(project.path, "use.ts"), USE);
  const tsc = () =>
    execFileSync(join(workspace, "node_modules/.bin/tsc"), [...STRICT, "use.ts"], { cwd: project.path, encoding: "utf8" });
  expect(tsc()).toBe("");
  writeFileSync(join(project.path, "use.ts"), USE.replace("order.total.toFixed()", "order.nothing"));
  expect(tsc).toThrow();
});

test("what `pregon types` writes is what a client takes", () => {
  const project = scratch("types");
  onTestFinished(project.remove);
  symlinkSync(join(workspace, "node_modules"), join(project.path, "node_modules"));
  writeFileSync(join(project.path, "package.json"), '{"type":"module"}');
  copyFileSync(join(repository, "crates/pregon/tests/cli/events.d.ts"), join(project.path, "events.d.ts"));
  const check = (text: string) => {
    writeFileSync(join(project.path, "use.ts"), text);
    return execFileSync(join(workspace, "node_modules/.bin/tsc"), [...STRICT, "use.ts"], { cwd: project.path, encoding: "utf8" });
  };
  expect(check(GENERATED)).toBe("");
  expect(() => check(GENERATED.replace("toFixed", "toUpperCase"))).toThrow();
});

const GENERATED = `
import { createClient } from "@pregon/client";
import type { Events } from "./events.js";
const shop = createClient<Events>().channel("pedidos");
shop.on("order:update", (order) => order.total.toFixed(2) + order.creado.length);
shop.on("estado:open", ({ estado }) => estado === "open");
shop.on("total", (total) => total.doble);
shop.on("truncate", (nothing: null) => nothing);
`;

const STRICT = [
  "--strict",
  "--noEmit",
  "--module",
  "nodenext",
  "--moduleResolution",
  "nodenext",
  "--target",
  "es2022",
  "--lib",
  "es2022,dom",
  "--types",
  "node",
];

const USE = `
import WebSocket from "ws";
import { createClient, type Gap } from "@pregon/client";
import { useChannel, useLatest } from "@pregon/react";
import { createPublisher } from "@pregon/publisher";

interface Events {
  "order.created": { id: number; total: number };
  "typing": { who: string };
}
const client = createClient<Events>({ url: "https://rt.example", token: async () => "t", WebSocket });
const orders = client.channel("orders");
orders.on("order.created", (order, event) => event.position + order.total.toFixed());
orders.on("gap", (gap: Gap) => gap.reason);
orders.on("*", (_, { event, channel }) => event + channel);
void orders.publish("typing", { who: "me" }).then(({ position }) => position);
export function Total() {
  useChannel<Events>("orders", { "order.created": (order) => order.id, gap: (gap) => gap.to });
  return useLatest<Events, "order.created">("orders", "order.created")?.total;
}
createPublisher({ redis: { publish: async () => 1 } });
`;

test("what a bundler makes of the hooks knows the address that Vite was told", async () => {
  const project = scratch("bundle");
  onTestFinished(project.remove);
  mkdirSync(join(project.path, "src"));
  symlinkSync(join(workspace, "node_modules"), join(project.path, "node_modules"));
  writeFileSync(join(project.path, "src/main.js"), 'import { useWebSocket } from "@pregon/react"; globalThis.hook = useWebSocket;');
  writeFileSync(join(project.path, "index.html"), '<script type="module" src="/src/main.js"></script>');
  const { build: vite } = await import("vite");
  process.env.VITE_WS_URL = "ws://of.the.build:8085";
  onTestFinished(() => void delete process.env.VITE_WS_URL);
  const made = (await vite({ root: project.path, configFile: false, logLevel: "silent", build: { write: false } })) as {
    output: { type: string; code?: string }[];
  };
  expect(made.output.some(({ code }) => code?.includes("ws://of.the.build:8085"))).toBe(true);
});
