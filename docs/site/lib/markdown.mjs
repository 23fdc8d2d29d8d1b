// Markdown to HTML: headings get the anchors that code hosts give them, links are rewritten, code is coloured.

import MarkdownIt from "markdown-it";
import hljs from "highlight.js/lib/common";
import nginx from "highlight.js/lib/languages/nginx";
import dockerfile from "highlight.js/lib/languages/dockerfile";

hljs.registerLanguage("nginx", nginx);
hljs.registerLanguage("dockerfile", dockerfile);

/** Code with colours where the language is known. */
export function highlight(code, language) {
  return language && hljs.getLanguage(language) ? hljs.highlight(code, { language }).value : "";
}

/** The anchor of a heading, as GitHub and GitLab make it, so that links hold there and here. */
export function slug(text) {
  return text
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");
}

/**
 * Renders one page. `link(href)` says where a link of the source leads in the site.
 * Gives the HTML, the title, the headings of the second level and the words for the search.
 */
export function render(source, link) {
  const markdown = new MarkdownIt({ html: true, highlight });
  const tokens = markdown.parse(source, {});
  const used = new Map();
  const headings = [];
  tokens.forEach((token, number) => {
    if (token.type === "heading_open") {
      const text = plain(tokens[number + 1]);
      const id = unique(slug(text), used);
      token.attrSet("id", id);
      headings.push({ level: Number(token.tag.slice(1)), text, id });
    }
    for (const child of token.children ?? []) {
      if (child.type === "link_open") child.attrSet("href", link(child.attrGet("href")));
      if (child.type === "image") child.attrSet("src", link(child.attrGet("src")));
    }
  });
  const html = markdown.renderer
    .render(tokens, markdown.options, {})
    .replace(/<table>/g, '<div class="wide"><table>')
    .replace(/<\/table>/g, "</table></div>")
    .replace(/<pre>/g, '<pre tabindex="0">');
  return { html, title: headings.find(({ level }) => level === 1)?.text, headings, text: words(tokens) };
}

function unique(id, used) {
  const count = used.get(id) ?? 0;
  used.set(id, count + 1);
  return count === 0 ? id : `${id}-${count}`;
}

function plain(token) {
  return (token.children ?? []).map((child) => (child.type === "image" ? "" : child.content)).join("");
}

function words(tokens) {
  const texts = tokens.map((token) => (token.type === "inline" ? plain(token) : token.type === "fence" ? token.content : ""));
  return texts.join(" ").replace(/\s+/g, " ").trim();
}
