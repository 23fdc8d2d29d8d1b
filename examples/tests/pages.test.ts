// What is committed is what the sources make, and the first page leads to all examples.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findings, launch, open } from "./support/browser";
import { Demo, repository } from "./support/demo";

const examples = join(repository, "examples");

/** Every file below a folder with its content. */
function read(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = names.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path, "utf8")]));
}

test("examples/dist is fresh", () => {
  const outDir = mkdtempSync(join(tmpdir(), "pregon-examples-"));
  onTestFinished(() => rmSync(outDir, { recursive: true }));
  // A process of its own: this one has told libraries that it is a test.
  const { NODE_ENV: _, VITEST: __, ...env } = process.env;
  const vite = join(examples, "node_modules/vite/bin/vite.js");
  execFileSync(process.execPath, [vite, "build", "--logLevel", "error", "--outDir", outDir], { cwd: examples, env });
  const [made, committed] = [read(outDir), read(join(examples, "dist"))];
  expect(Object.keys(committed), "run `npm --prefix examples run build` and commit examples/dist").toEqual(Object.keys(made));
  const old = Object.keys(made).filter((name) => made[name] !== committed[name]);
  expect(old, "run `npm --prefix examples run build` and commit examples/dist").toEqual([]);
});

test("the first page leads to every example, and each begins", async () => {
  const [demo, browser] = await Promise.all([Demo.start(), launch()]);
  onTestFinished(async () => {
    await browser.close();
    await demo.stop();
  });
  const { page, errors } = await open(browser, demo.url);
  await page.getByRole("heading", { name: "Five live applications" }).waitFor();
  // Traffic is told on the card of its example.
  await page.locator(".example code", { hasText: "INSERT INTO ventas" }).waitFor();
  expect(await findings(page)).toEqual([]);
  const links = await page.locator(".example h2 a").evaluateAll((all) => all.map((one) => (one as HTMLAnchorElement).href));
  expect(links.length).toBe(5);
  for (const link of links.filter((link) => readdirSync(join(examples, "dist")).some((name) => link.endsWith(`/${name}/`)))) {
    await page.goto(link);
    await page.locator("[data-status=connected]").waitFor();
    await page.locator(".strip-lines [data-state=seen]").first().waitFor();
  }
  expect(errors).toEqual([]);
});
