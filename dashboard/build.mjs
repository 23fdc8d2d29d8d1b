// Builds src/ into dist/, which the binary embeds; with --check only compares, so that nobody commits one without the other.

import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const at = (path) => new URL(path, import.meta.url);

async function files() {
  const built = await build({
    absWorkingDir: at(".").pathname,
    entryPoints: { app: "src/main.tsx" },
    outdir: "dist",
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    charset: "utf8",
  });
  const out = new Map(built.outputFiles.map((file) => [file.path.split("/").pop(), Buffer.from(file.contents)]));
  for (const name of ["index.html", "icon.svg"]) out.set(name, await readFile(at(`src/${name}`)));
  return out;
}

const stale = [];
for (const [name, content] of await files()) {
  const path = at(`dist/${name}`);
  if (process.argv.includes("--check")) {
    const kept = await readFile(path).catch(() => Buffer.alloc(0));
    if (!kept.equals(content)) stale.push(name);
  } else {
    await writeFile(path, content);
    console.log(`${name}: ${content.length} bytes`);
  }
}
if (stale.length > 0) {
  console.error(`dist is not what src gives (${stale.join(", ")}): run npm --prefix dashboard run build and commit dist`);
  process.exit(1);
}
