// The frame around a page: menu, search, the page before and the one after.

export function escape(text) {
  return String(text).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
}

/** `up` leads from the page to the top of the site ("" or "../" and so on); the site works from a file system too. */
export function layout({ title, html, up, menu, current, before, after, headings = [], language = "en" }) {
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · pregón</title>
<link rel="stylesheet" href="${up}style.css">
<link rel="icon" href="data:,">
</head>
<body data-up="${up}">
<a class="skip" href="#content">Skip to the text</a>
<header>
<a class="home" href="${up}index.html">pregón</a>
<label class="search"><span class="hidden">Search</span><input type="search" placeholder="Search" autocomplete="off"></label>
<details class="menu-switch"><summary>Menu</summary>${navigation(menu, current, up)}</details>
</header>
<div class="columns">
<nav class="side" aria-label="Pages">${navigation(menu, current, up)}</nav>
<main id="content" tabindex="-1">
<div class="results" role="region" aria-label="Search results" aria-live="polite" hidden></div>
<article>
${html}
</article>
${neighbours(before, after, up)}
</main>
${contents(headings)}
</div>
<script src="${up}search-index.js" defer></script>
<script src="${up}search.js" defer></script>
</body>
</html>
`;
}

function navigation(menu, current, up) {
  const link = ({ short, out }) =>
    `<li><a href="${up}${out}"${out === current ? ' aria-current="page"' : ""}>${escape(short)}</a></li>`;
  return menu.map(({ title, pages }) => `<p class="group">${escape(title)}</p><ul>${pages.map(link).join("")}</ul>`).join("");
}

function neighbours(before, after, up) {
  const link = (page, rel, sign) => (page ? `<a rel="${rel}" href="${up}${page.out}">${sign(escape(page.short))}</a>` : "<span></span>");
  return `<nav class="neighbours" aria-label="Before and after">${link(before, "prev", (text) => `← ${text}`)}${link(after, "next", (text) => `${text} →`)}</nav>`;
}

function contents(headings) {
  const second = headings.filter(({ level }) => level === 2);
  if (second.length < 2) return "";
  const items = second.map(({ id, text }) => `<li><a href="#${id}">${escape(text)}</a></li>`).join("");
  return `<nav class="contents" aria-label="On this page"><p class="group">On this page</p><ul>${items}</ul></nav>`;
}
