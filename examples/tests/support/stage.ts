// A demo and a browser for the tests of a file.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { launch, open, type Seen } from "./browser";
import { Demo } from "./demo";

export interface Stage {
  demo: Demo;
  browser: Browser;
  /** A page of the demo, in a browser profile of its own, once it is connected. */
  page(path: string, options?: object): Promise<Seen>;
}

/** Both are there from the first test on and end with the last; how the demo ended is part of the test. */
export function stage(): Stage {
  const stage = {} as Stage;
  beforeAll(async () => {
    [stage.demo, stage.browser] = await Promise.all([Demo.start({ quiet: true }), launch()]);
  });
  afterAll(async () => {
    await stage.browser?.close();
    expect(await stage.demo?.stop()).toBe(0);
  });
  stage.page = async (path, options) => {
    const seen = await open(stage.browser, `${stage.demo.url}${path}`, options);
    await seen.page.locator("[data-status=connected]").waitFor();
    return seen;
  };
  return stage;
}
