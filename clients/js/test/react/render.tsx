// Components on a page of jsdom, with the React that is tested.

import { createElement, StrictMode, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { onTestFinished } from "vitest";

export interface Page {
  /** What is to be read. */
  text(): string;
  show(node: ReactNode): void;
  remove(): void;
}

/** Renders in strict mode, which mounts everything twice. */
export function render(node: ReactNode): Page {
  const element = document.createElement("div");
  const root = createRoot(element);
  const show = (node: ReactNode) => root.render(createElement(StrictMode, null, node));
  let there = true;
  const remove = () => {
    if (there) root.unmount();
    there = false;
  };
  show(node);
  onTestFinished(remove);
  return { text: () => element.textContent ?? "", show, remove };
}
