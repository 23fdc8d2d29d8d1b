// The dashboard and the alerts ask for metrics that there are, in PromQL that Prometheus' own grammar takes.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parser } from "@prometheus-io/lezer-promql";
import { parse } from "yaml";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const read = (file) => fs.readFileSync(path.join(ROOT, file), "utf8");
const dashboard = JSON.parse(read("deploy/grafana/pregon.json"));
const panels = dashboard.panels.filter(({ type }) => type !== "row");
const rules = parse(read("deploy/prometheus/alerts.yml")).groups.flatMap(({ rules }) => rules);
// What Grafana puts in before it asks.
const asked = (expr) => expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*");
const expressions = [...panels.flatMap(({ targets }) => targets.map(({ expr }) => asked(expr))), ...rules.map(({ expr }) => expr)];

/** Names and labels of our metrics, as the pages list them; crates/pregon/tests/docs.rs compares those with the program. */
const documented = new Map();
for (const [, name, labels] of [read("docs/operations.md"), read("docs/router.md")].join("\n").matchAll(/`(pregon_\w+)(?:\{(\w+)[^}]*\})?`/g)) {
  documented.set(name, labels ?? documented.get(name));
}

function errors(expression) {
  const found = [];
  parser.configure({ top: "PromQL" }).parse(expression).iterate({ enter: ({ type, from }) => void (type.isError && found.push(from)) });
  return found;
}

test("expressions are PromQL", () => {
  assert.ok(expressions.length > 50, `${expressions.length}`);
  for (const expression of expressions) assert.deepEqual(errors(expression), [], expression);
  assert.notDeepEqual(errors("sum(rate(pregon_deliveries_total[5m])"), [], "the grammar finds what is wrong");
});

test("every metric that is asked for exists, with its labels", () => {
  for (const expression of expressions) {
    for (const [, name, selector = ""] of expression.matchAll(/(pregon_\w+)(?:\{([^}]*)\})?/g)) {
      const plain = name.replace(/_(?:bucket|sum|count)$/, "");
      assert.ok(documented.has(plain), `${name} in ${expression}`);
      for (const [, label] of selector.matchAll(/(\w+)\s*[=!]~?/g)) {
        assert.ok(label === "instance" || label === documented.get(plain), `${label} of ${name} in ${expression}`);
      }
    }
  }
});

test("panels have ids of their own, places that do not overlap, and legends of labels that there are", () => {
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  const taken = new Set();
  for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
    assert.ok(x + w <= 24, title);
    for (let i = x; i < x + w; i++) for (let j = y; j < y + h; j++) {
      assert.ok(!taken.has(`${i},${j}`), `${title} overlaps`);
      taken.add(`${i},${j}`);
    }
  }
  for (const { title, targets } of panels) for (const { expr, legendFormat } of targets) {
    for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(label === "instance" || expr.includes(`by (${label})`) || [...documented.values()].includes(label), title);
  }
});

test("alerts have a name of their own, a severity, and say what to do", () => {
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, labels, annotations, for: lasting = "1m" } of rules) {
    assert.match(labels.severity, /^(critical|warning)$/, alert);
    assert.ok(annotations.summary && annotations.description, alert);
    assert.match(lasting, /^\d+[smh]$/, alert);
  }
});
