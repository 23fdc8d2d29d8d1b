// The view in the page's address, `#seller/42`, so that it can be linked, reloaded and gone back to.

import { useSyncExternalStore } from "react";

export type View = "store" | "products" | "seller" | "admin";
export const VIEWS: View[] = ["store", "products", "seller", "admin"];

/** Whose dashboard is shown at first. */
const FIRST = 7;

function subscribe(changed: () => void): () => void {
  addEventListener("hashchange", changed);
  return () => removeEventListener("hashchange", changed);
}

export function useView(): [View, number, (view: View, seller?: number) => void] {
  const [name, id] = useSyncExternalStore(subscribe, () => location.hash)
    .slice(1)
    .split("/");
  const view = VIEWS.find((one) => one === name) ?? "store";
  const seller = Number(id) || FIRST;
  return [view, seller, (next, chosen = seller) => (location.hash = `${next}/${chosen}`)];
}
