// Follows every link of a built site: files have to be there, and anchors in them.

import fs from "node:fs";
import path from "node:path";

/** One line for each link of the site that leads nowhere. Links to other sites are not followed: this works offline. */
export function deadLinks(folder) {
  const pages = new Map(htmlFiles(folder).map((file) => [file, read(file)]));
  const dead = new Set();
  for (const [file, { links }] of pages) {
    for (const href of links) {
      if (/^[a-z]+:/i.test(href)) continue;
      const [target, anchor] = href.split("#");
      const to = target === "" ? file : path.join(path.dirname(file), decodeURI(target));
      const missing = !fs.existsSync(to) || fs.statSync(to).isDirectory();
      const lost = anchor && pages.has(to) && !pages.get(to).ids.has(decodeURIComponent(anchor));
      if (missing || lost) dead.add(`${path.relative(folder, file)} links to ${href}, ${missing ? "which is not there" : "an anchor that is not there"}`);
    }
  }
  return [...dead];
}

function htmlFiles(folder) {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && entry.name.endsWith(".html")).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
}

function read(file) {
  const html = fs.readFileSync(file, "utf8");
  const all = (pattern) => [...html.matchAll(pattern)].map(([, value]) => value.replaceAll("&amp;", "&"));
  return { links: all(/\s(?:href|src)="([^"]*)"/g), ids: new Set(all(/\sid="([^"]*)"/g)) };
}
