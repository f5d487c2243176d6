"""Markdown as HTML that is safe to show: articles, and the messages of customers, models and staff alike."""

from html import unescape

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

# The parser escapes raw HTML, nh3 then keeps what is listed here: two locks, since the text is a stranger's.
PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
TAGS = {
    *("a", "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h2", "h3", "h4", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto", "tel"}


def to_html(text: str) -> SafeString:
    """Links get rel=noopener; images, styles, scripts and other schemes are left out."""
    html = PARSER.render(text)
    cleaned = nh3.clean(html, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel="noopener nofollow")
    return mark_safe(cleaned)  # noqa: S308 - sanitised in the line above


def to_text(text: str) -> str:
    """The words alone, on one line, for previews. Not HTML: a template escapes it."""
    return " ".join(unescape(nh3.clean(PARSER.render(text), tags=set())).split())
