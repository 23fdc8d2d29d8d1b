// Two small plugins: pages at their public places, and the list by which the binary takes the built files in.

import { readdirSync } from "node:fs";
import type { Plugin } from "vite";

/** `turnstile/web/index.html` is served at `/turnstile/`, `home/index.html` at `/`. */
export function places(): Plugin {
  return {
    name: "places",
    enforce: "post",
    generateBundle(_, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.fileName.endsWith(".html")) file.fileName = file.fileName.replace(/^home\/|web\//, "");
      }
    },
  };
}

/** `files.rs`: an expression that `crates/pregon` includes, so that cargo itself sees when a file changes. */
export function embed(): Plugin {
  let copied: string[] = [];
  return {
    name: "embed",
    enforce: "post",
    configResolved: (config) => void (copied = readdirSync(config.publicDir)),
    generateBundle(_, bundle) {
      const names = [...copied, ...Object.values(bundle).map((file) => file.fileName)];
      const lines = names.sort().map((name) => `    (${JSON.stringify(name)}, include_bytes!(${JSON.stringify(name)})),\n`);
      const source = `// Made by \`npm run build\` in examples/.\n&[\n${lines.join("")}]\n`;
      this.emitFile({ type: "asset", fileName: "files.rs", source });
    },
  };
}
