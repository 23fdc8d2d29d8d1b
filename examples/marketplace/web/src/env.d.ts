// What Vite writes into the build.

interface ImportMeta {
  env: Record<string, string | undefined>;
}
