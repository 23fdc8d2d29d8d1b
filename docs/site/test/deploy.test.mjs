// The files of deploy/ that cannot be run here (there is no container engine, no Kubernetes, no running systemd) are
// checked against schemas, linted, and compared with each other. nginx runs: crates/pregon/tests/deploy.rs.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { validate } from "dockerfile-utils";
import { parse, parseAllDocuments } from "yaml";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const DEPLOY = path.join(ROOT, "deploy");
const read = (file) => fs.readFileSync(path.join(DEPLOY, file), "utf8");

function run(program, ...args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", cwd: ROOT });
  assert.equal(error, undefined, `${program} is missing: run scripts/setup`);
  assert.equal(status, 0, `${program} ${args.join(" ")}:\n${stdout}${stderr}`);
  return stdout + stderr;
}

const python = (name) => path.join(ROOT, "conformance/.venv/bin", name);

function scratch(t, name, text) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pregon-deploy-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
}

/** `pregon check`, as an operator would run it, with the variables of the deployment. */
function check(t, toml) {
  const file = scratch(t, "pregon.toml", toml);
  const binary = process.env.PREGON_BIN ?? path.join(ROOT, "target/release/pregon");
  assert.ok(fs.existsSync(binary), `${binary} is missing: cargo build --release -p pregon`);
  const env = { PATH: process.env.PATH, DATABASE_URL: "postgres://gateway@db/shop", JWT_SECRET: "0123456789abcdef0123456789abcdef" };
  const { status, stdout, stderr } = spawnSync(binary, ["check", "--config", file], { encoding: "utf8", env });
  assert.equal(status, 0, stdout + stderr);
}

const kubernetes = () => parseAllDocuments(read("kubernetes/pregon.yaml"), { merge: true }).map((document) => document.toJS());
const kind = (name) => kubernetes().find((object) => object.kind === name);

test("the Dockerfile has no findings, runs as nobody and starts what is there", () => {
  const text = read("docker/Dockerfile");
  const findings = validate(text, {}).map(({ message, severity, range }) => `${range.start.line + 1}: ${message} (${severity})`);
  assert.deepEqual(findings, []);
  assert.match(text, /^USER 65532:65532$/m);
  assert.match(text, /^ENTRYPOINT \["\/usr\/local\/bin\/pregon"\]$/m);
  const rust = /^rust-version = "(.*)"$/m.exec(fs.readFileSync(path.join(ROOT, "Cargo.toml"), "utf8"))[1];
  assert.match(text, new RegExp(`^FROM rust:${rust.replace(".", "\\.")}-`, "m"));
});

test("the linter finds what is wrong", () => {
  assert.notDeepEqual(validate("FROM debian\nRUNN make\n", {}), []);
});

test("the compose file is of the schema, and names files that are there", () => {
  run(python("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/docker/compose.yaml");
  const { services } = parse(read("docker/compose.yaml"));
  const mounted = Object.values(services).flatMap(({ volumes }) => volumes).filter((volume) => volume.startsWith("./"));
  for (const volume of mounted) assert.ok(fs.existsSync(path.join(DEPLOY, "docker", volume.split(":")[0])), volume);
  assert.ok(fs.existsSync(path.join(DEPLOY, "docker", services.pregon.build.context, services.pregon.build.dockerfile)));
});

test("the manifests are of Kubernetes' schemas", () => {
  run(python("kubernetes-validate"), "--strict", "--kubernetes-version", "1.30", "deploy/kubernetes/pregon.yaml");
  run(python("kubernetes-validate"), "--strict", "deploy/kubernetes/pregon.yaml");
});

test("the pod is told to go before it is killed, and is asked where it answers", () => {
  const { template } = kind("StatefulSet").spec;
  const [container] = template.spec.containers;
  const drain = Number(/`drain` \(time\).*`"(\d+)s"`/.exec(fs.readFileSync(path.join(ROOT, "docs/config.md"), "utf8"))[1]);
  const wait = container.lifecycle.preStop.sleep.seconds;
  assert.ok(template.spec.terminationGracePeriodSeconds > wait + drain, `${wait} + ${drain}`);
  assert.equal(container.readinessProbe.httpGet.path, "/readyz");
  assert.equal(container.livenessProbe.httpGet.path, "/healthz");
  const port = container.ports.find(({ name }) => name === "http").containerPort;
  assert.ok(container.env.some(({ name, value }) => name === "PREGON_LISTEN" && value.endsWith(`:${port}`)));
});

test("selectors select the pod, and a drain of its node is possible", () => {
  const { labels } = kind("StatefulSet").spec.template.metadata;
  const selectors = [kind("Service").spec.selector, kind("PodDisruptionBudget").spec.selector.matchLabels, kind("NetworkPolicy").spec.podSelector.matchLabels];
  for (const selector of selectors) for (const [key, value] of Object.entries(selector)) assert.equal(labels[key], value);
  assert.ok(kind("PodDisruptionBudget").spec.maxUnavailable >= 1);
});

test("configurations of the deployments pass `pregon check`", (t) => {
  check(t, kind("ConfigMap").data["pregon.toml"]);
  check(t, read("docker/pregon.toml"));
});

test("units of systemd are in order, and expose little", (t) => {
  for (const unit of ["pregon.service", "pregon-router.service"]) {
    // The binary is not installed here; everything else is looked at as it is.
    const file = scratch(t, unit, read(`systemd/${unit}`).replace("/usr/local/bin/pregon ", "/bin/true "));
    assert.equal(run("systemd-analyze", "verify", file), "");
    run("systemd-analyze", "security", "--offline=yes", "--threshold=20", file); // 2.0 of 10
  }
});
