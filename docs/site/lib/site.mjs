// From the repository's Markdown to a folder of HTML. Pages keep their paths (docs/log.md is docs/log.html), so that
// links between them need another ending and nothing else. Files that pages link to are shown with their text.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { layout, escape } from "./layout.mjs";
import { highlight, render } from "./markdown.mjs";

const THEME = path.join(path.dirname(fileURLToPath(import.meta.url)), "../theme");
const IMAGE = /\.(png|jpe?g|svg|gif|webp)$/;
const LANGUAGE = { toml: "ini", service: "ini", conf: "nginx", yml: "yaml", yaml: "yaml", mjs: "js", rs: "rust", py: "python", sh: "bash" };

/** Writes the site to `out`, which is made anew. Problems are links to what is not in the repository. */
export function build(root, sections, out) {
  fs.rmSync(out, { recursive: true, force: true });
  fs.mkdirSync(out, { recursive: true });
  const site = new Site(root, out, withTheRest(root, sections));
  for (const page of site.pages) site.renderPage(page);
  site.writePages();
  site.writeFiles();
  for (const file of fs.readdirSync(THEME)) fs.copyFileSync(path.join(THEME, file), path.join(out, file));
  const index = site.pages.map(({ title, out, text }) => ({ title, out, text }));
  // A script and not JSON, because a browser does not fetch from a file system.
  fs.writeFileSync(path.join(out, "search-index.js"), `window.pregonPages = ${JSON.stringify(index)};\n`);
  return { pages: site.pages, problems: site.problems };
}

/** The sections with those pages of docs/ behind them that none names; pages that are not there are left out. */
function withTheRest(root, sections) {
  const there = sections.map(({ title, pages }) => ({ title, pages: pages.filter((page) => fs.existsSync(path.join(root, page))) }));
  const named = new Set(there.flatMap(({ pages }) => pages));
  const folder = path.join(root, "docs");
  const all = fs.readdirSync(folder).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  const rest = all.filter((page) => !named.has(page)).sort();
  return rest.length > 0 ? [...there, { title: "More", pages: rest }] : there;
}

function outputOf(source) {
  return source.replace(/(^|\/)README\.md$/, "$1index.html").replace(/\.md$/, ".html");
}

class Site {
  constructor(root, out, sections) {
    this.root = root;
    this.out = out;
    this.problems = [];
    /** Linked files and folders that are no pages: source path to output path. */
    this.files = new Map();
    this.sections = sections.map(({ title, pages }) => ({ title, pages: pages.map((source) => ({ source, out: outputOf(source) })) }));
    this.pages = this.sections.flatMap(({ pages }) => pages);
    this.bySource = new Map(this.pages.map((page) => [page.source, page]));
  }

  renderPage(page) {
    const source = fs.readFileSync(path.join(this.root, page.source), "utf8");
    Object.assign(page, render(source, (href) => this.resolve(page, href)));
    page.title ??= page.source;
    page.language = page.source.endsWith(".es.md") ? "es" : "en";
    // "turnstile: the till that misses nobody" is too long for a menu.
    page.short = page.language === "es" ? `${page.title} (español)` : page.title.split(":")[0];
  }

  /** Where a link of the source leads in the site. */
  resolve(page, href) {
    if (/^[a-z]+:/i.test(href) || href.startsWith("#")) return href;
    const [target, anchor] = href.split("#");
    const source = path.posix.normalize(path.posix.join(path.posix.dirname(page.source), decodeURI(target))).replace(/\/$/, "");
    const to = source.startsWith("..") ? undefined : this.outputFor(source);
    if (to === undefined) {
      this.problems.push(`${page.source} links to ${href}, which is not there`);
      return href;
    }
    const relative = path.posix.relative(path.posix.dirname(page.out), to);
    return anchor === undefined ? relative : `${relative}#${anchor}`;
  }

  outputFor(source) {
    const page = this.bySource.get(source) ?? this.bySource.get(`${source}/README.md`);
    if (page) return page.out;
    const file = path.join(this.root, source);
    if (!fs.existsSync(file)) return undefined;
    const directory = fs.statSync(file).isDirectory();
    const to = directory ? `${source}/index.html` : IMAGE.test(source) ? source : `${source}.html`;
    if (!this.files.has(source)) this.files.set(source, to);
    return to;
  }

  writePages() {
    this.pages.forEach((page, number) => {
      this.write(page.out, { ...page, before: this.pages[number - 1], after: this.pages[number + 1] });
    });
  }

  /** A folder's listing names more files, so the map may grow while it is walked; folders in folders are only named. */
  writeFiles() {
    for (const [source, out] of this.files) {
      const file = path.join(this.root, source);
      if (fs.statSync(file).isDirectory()) this.writeFolder(source, out);
      else if (IMAGE.test(source)) this.copy(file, out);
      else this.writeFile(file, source, out);
    }
  }

  writeFolder(source, out) {
    const entries = fs.readdirSync(path.join(this.root, source), { withFileTypes: true });
    const shown = entries.filter(({ name }) => !/^(\.|node_modules$|dist$|target$)/.test(name));
    const item = (entry) => {
      if (entry.isDirectory()) return `<li>${escape(entry.name)}/</li>`;
      const to = this.outputFor(`${source}/${entry.name}`);
      return `<li><a href="${path.posix.relative(path.posix.dirname(out), to)}">${escape(entry.name)}</a></li>`;
    };
    const html = `<h1>${escape(source)}</h1><ul>${shown.map(item).join("")}</ul>`;
    this.write(out, { title: source, html, out });
  }

  writeFile(file, source, out) {
    const text = fs.readFileSync(file, "utf8");
    if (source.endsWith(".md")) {
      const page = { source, out };
      this.write(out, { title: source, out, ...render(text, (href) => this.resolve(page, href)) });
      return;
    }
    const ending = path.extname(source).slice(1);
    const code = highlight(text, LANGUAGE[ending] ?? ending) || escape(text);
    this.write(out, { title: source, out, html: `<h1>${escape(source)}</h1><pre tabindex="0"><code>${code}</code></pre>` });
  }

  copy(file, out) {
    fs.mkdirSync(path.dirname(path.join(this.out, out)), { recursive: true });
    fs.copyFileSync(file, path.join(this.out, out));
  }

  write(out, page) {
    const file = path.join(this.out, out);
    const up = "../".repeat(out.split("/").length - 1);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, layout({ ...page, up, menu: this.sections, current: out }));
  }
}
