// How the tests of the workspace run: sources instead of what was built, and the hooks beside React 19 and React 18.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const sources = {
  "@pregon/client/bare": at("packages/client/src/bare.ts"),
  "@pregon/client": at("packages/client/src/index.ts"),
  "@pregon/react": at("packages/react/src/index.ts"),
  "@pregon/publisher": at("packages/publisher/src/index.ts"),
};
const react18 = { react: at("react18/node_modules/react"), "react-dom": at("react18/node_modules/react-dom") };
// What brings React along must take the one that is tested.
const inline = [/@tanstack/, /@apollo/, /react18/];
const hooks = { include: ["test/react/**/*.test.{ts,tsx}"], environment: "jsdom" };

export default defineConfig({
  test: {
    testTimeout: 20_000,
    // They wait more than they compute.
    maxWorkers: 2,
    projects: [
      {
        resolve: { alias: sources },
        test: {
          name: "node",
          include: ["test/{client,publisher,packages,browser}/**/*.test.ts"],
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        resolve: { alias: sources },
        test: { ...hooks, name: "react 19", env: { REACT: "19" }, testTimeout: 20_000, hookTimeout: 20_000 },
      },
      {
        resolve: { alias: { ...sources, ...react18 } },
        test: {
          ...hooks,
          name: "react 18",
          env: { REACT: "18" },
          server: { deps: { inline } },
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
    ],
  },
});
