// The arithmetic of the strip: what counts as seen and as missed.

import { expect, test } from "vitest";
import type { Facts } from "../kit/src/demo.js";
import { matching, StripStore, type Statement } from "../kit/src/strip/store.js";

const routes = [
  { from: "messages", to: "user_{user_id}", event: "conversation:updated" },
  { from: "messages", to: "conversation_{conversation_id}", event: "message:new" },
  { from: "events", to: "seller:SELLER:{seller_id}", event: "{type}" },
];
const facts: Facts = { name: "x", gateway: "", ws: "", tokens: {}, routes, kill: [], live: true };
const said = (key: string, more: Partial<Statement> = {}): Statement => ({
  n: Number(key),
  example: "x",
  at: Date.now(),
  what: "INSERT",
  key,
  quiet: false,
  ...more,
});
const figures = (strip: StripStore) => {
  const { sent, seen, missed } = strip.read();
  return { sent, seen, missed };
};
const connected = () => {
  const strip = new StripStore(facts);
  strip.status("connected");
  return strip;
};
const later = (ms: number) => Date.now() + ms;

test("an event is matched whether it or word of its statement comes first", () => {
  const strip = connected();
  strip.stated(said("1"));
  strip.arrived(1, { channel: "conversation_7" });
  strip.arrived("2", { channel: "user_3" });
  strip.stated(said("2"));
  expect(figures(strip)).toEqual({ sent: 2, seen: 2, missed: 0 });
  expect(strip.read().lines.map((line) => line.route?.to)).toEqual(["user_{user_id}", "conversation_{conversation_id}"]);
});

test("what makes no event for this page is not waited for", () => {
  const strip = connected();
  strip.expects = ({ what }) => !what.includes("SELLER");
  strip.stated(said("1", { quiet: true }));
  strip.stated(said("2", { what: "PUBLISH SELLER" }));
  strip.look(later(60_000));
  expect(figures(strip)).toEqual({ sent: 0, seen: 0, missed: 0 });
  expect(strip.read().lines.map((line) => line.state)).toEqual(["quiet", "quiet"]);
});

test("who waits too long while all is well has missed it, until it comes after all", () => {
  const strip = connected();
  strip.stated(said("1"));
  strip.look(later(5_000));
  expect(figures(strip).missed).toBe(0);
  strip.look(later(11_000));
  strip.look(later(12_000));
  expect(figures(strip)).toEqual({ sent: 1, seen: 0, missed: 1 });
  strip.arrived(1, { channel: "user_1", replayed: true });
  expect(figures(strip)).toEqual({ sent: 1, seen: 1, missed: 0 });
  expect(strip.read().lines[0]).toMatchObject({ state: "seen", replayed: true });
});

test("nothing counts as missed while the page or a part is away", () => {
  const strip = connected();
  strip.stated(said("1"));
  strip.away(["postgres"]);
  strip.look(later(60_000));
  strip.away([]);
  strip.status("reconnecting");
  strip.look(later(60_000));
  strip.status("connected");
  strip.look(later(5_000));
  expect(figures(strip)).toEqual({ sent: 1, seen: 0, missed: 0 });
  strip.look(later(11_000));
  expect(figures(strip).missed).toBe(1);
});

test("only what was sent while all was well is measured", () => {
  const strip = connected();
  strip.stated(said("1", { at: later(1) }));
  strip.arrived(1, { channel: "user_1" });
  const { median } = strip.read();
  expect(median).toBeGreaterThanOrEqual(0);
  strip.away(["gateway"]);
  strip.stated(said("2", { at: later(-1_000) }));
  strip.away([]);
  strip.arrived(2, { channel: "user_1" });
  expect(strip.read()).toMatchObject({ seen: 2, median });
  expect(strip.read().lines.map((line) => line.replayed)).toEqual([true, false]);
});

test("the route is the one whose channel and event fit", () => {
  expect(matching(routes, { channel: "user_7", event: "conversation:updated" })?.to).toBe("user_{user_id}");
  expect(matching(routes, { channel: "seller:SELLER:42", event: "SELLER_STATS_UPDATED" })?.from).toBe("events");
  expect(matching(routes, { channel: "user_7", event: "message:new" })).toBeUndefined();
  expect(matching(routes, { channel: "user_" })).toBeUndefined();
});
