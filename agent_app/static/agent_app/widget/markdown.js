// A message's Markdown as nodes that are safe to show, with its [1] turned into links to the sources.
import DOMPurify from "../vendor/dompurify/purify.mjs";
import { Marked } from "../vendor/marked/marked.mjs";
import { element } from "./element.js";
import { strings } from "./strings.js";

// HTML in a message is shown as it was typed, as the server does it; the sanitiser is the second lock.
const marked = new Marked({ gfm: true, breaks: true, renderer: { html: ({ text }) => escaped(text) } });
const ALLOWED = {
  ALLOWED_TAGS: [
    ...["a", "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li"],
    ...["h1", "h2", "h3", "h4", "table", "thead", "tbody", "tr", "th", "td"],
  ],
  ALLOWED_ATTR: ["href", "title", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|tel:|\/(?!\/))/i,
  RETURN_DOM_FRAGMENT: true,
};
const MARK = /\[(\d{1,2})\]/g;

function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

export function rendered(text, citations = []) {
  const fragment = DOMPurify.sanitize(marked.parse(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) openApart(link);
  if (citations.length) cite(fragment, new Map(citations.map((citation) => [citation.n, citation])));
  return fragment;
}

/** Whatever the chat links to opens in a tab of its own: the iframe is no place to read a page. */
function openApart(link) {
  link.target = "_blank";
  link.rel = "noopener";
}

function cite(fragment, sources) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (!walker.currentNode.parentElement?.closest("code, a")) texts.push(walker.currentNode);
  for (const text of texts) text.replaceWith(...withMarks(text.data, sources));
}

function withMarks(text, sources) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(MARK)) {
    const source = sources.get(Number(match[1]));
    if (!source) continue;
    // A mark never stands alone at the start of a line.
    parts.push(text.slice(end, match.index).replace(/ $/, "\u00a0"), citationLink(source));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

export function citationLink({ n, title, url }, ...label) {
  const attributes = { class: label.length ? "source" : "cite", href: safe(url), title };
  const link = element("a", { ...attributes, "aria-label": strings.source(n, title) }, ...(label.length ? label : [n]));
  openApart(link);
  return link;
}

function safe(url) {
  return ALLOWED.ALLOWED_URI_REGEXP.test(url) ? url : null;
}
