// All pages in one build: `examples/NAME/web/index.html` becomes `dist/NAME/index.html`, what they share is shared.

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { embed, places } from "./embed.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const apps = readdirSync(at(".")).filter((name) => existsSync(at(`${name}/web/index.html`)));

export default defineConfig({
  root: at("."),
  // The clients as they lie here: an example must show what this very commit does.
  resolve: {
    alias: {
      "@pregon/client/bare": at("../clients/js/packages/client/src/bare.ts"),
      "@pregon/client": at("../clients/js/packages/client/src/index.ts"),
      "@pregon/react": at("../clients/js/packages/react/src/index.ts"),
    },
    dedupe: ["react", "react-dom"],
  },
  plugins: [places(), embed()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    // Sources are in the repository; the binary carries these files.
    sourcemap: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: {
      input: {
        home: at("home/index.html"),
        ...Object.fromEntries(apps.map((name) => [name, at(`${name}/web/index.html`)])),
      },
      // "use client" in our hooks is meant for other frameworks.
      onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning),
    },
  },
  // `npm run dev` beside a demo that runs: http://localhost:5173/turnstile/web/
  // The demo compares Origin with Host.
  server: { proxy: { "/demo": { target: process.env.PREGON_DEMO ?? "http://127.0.0.1:8800", changeOrigin: false } } },
  test: {
    include: ["tests/**/*.test.ts"],
    // One demo and one browser at a time: two cores.
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
