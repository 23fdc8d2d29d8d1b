// The search of the site: every word must be in the page; pages with the words in their title come first.
(() => {
  const input = document.querySelector(".search input");
  const results = document.querySelector(".results");
  const article = document.querySelector("article");
  const up = document.body.dataset.up;

  function find(words) {
    const rank = ({ title, text }) => {
      const all = `${title} ${text}`.toLowerCase();
      if (!words.every((word) => all.includes(word))) return 0;
      return 1 + words.filter((word) => title.toLowerCase().includes(word)).length * 100 + Math.min(50, all.split(words[0]).length);
    };
    const ranked = (window.pregonPages ?? []).map((page) => ({ page, rank: rank(page) }));
    return ranked.filter(({ rank }) => rank > 0).sort((a, b) => b.rank - a.rank).slice(0, 20).map(({ page }) => page);
  }

  function show(page, word) {
    const item = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: up + page.out, textContent: page.title });
    const at = Math.max(0, page.text.toLowerCase().indexOf(word) - 60);
    const excerpt = Object.assign(document.createElement("p"), { textContent: `…${page.text.slice(at, at + 180)}…` });
    item.append(link, excerpt);
    return item;
  }

  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.hidden = words.length === 0;
    article.hidden = words.length > 0;
    const found = words.length > 0 ? find(words) : [];
    const list = document.createElement("ul");
    list.append(...found.map((page) => show(page, words[0])));
    const heading = Object.assign(document.createElement("h2"), { textContent: found.length > 0 ? "Found" : "Nothing found" });
    results.replaceChildren(heading, list);
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing) {
      event.preventDefault();
      input.focus();
    }
    if (event.key === "Escape" && typing) {
      input.value = "";
      input.dispatchEvent(new Event("input"));
    }
  });
})();
