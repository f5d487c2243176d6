"""Answers made of the articles' own passages, each with the number of its source."""

import re
from dataclasses import dataclass, field
from typing import Any

from agent_app.knowledge.passages import LIST_ITEM, Passage, Source, plain

SNIPPET = 200  # characters


@dataclass
class Quotes:
    """What an answer quotes, numbered in the order of its first quote."""

    citations: list[dict[str, Any]] = field(default_factory=list)
    _quoted: set[tuple[str, str]] = field(default_factory=set)

    def quote(self, source: Source, passage: Passage | None) -> str | None:
        """The passage with its number, or None when this answer holds it already."""
        text = passage.text if passage else source.title
        if (source.slug, text) in self._quoted:
            return None
        self._quoted.add((source.slug, text))
        heading = f"**{passage.heading}**\n\n" if passage and passage.heading else ""
        return heading + numbered(text, self.number(source, text))

    def number(self, source: Source, text: str) -> int:
        for citation in self.citations:
            if citation["url"] == source.url:
                return int(citation["n"])
        n = len(self.citations) + 1
        self.citations.append({"n": n, "title": source.title, "url": source.url, "snippet": snippet(text)})
        return n


def numbered(text: str, n: int) -> str:
    """The mark stands behind the last sentence, or on a line of its own below a list or a table."""
    last = text.rstrip().splitlines()[-1]
    if LIST_ITEM.match(last) or last.lstrip().startswith(("|", "```", " ")):
        return f"{text.rstrip()}\n\n[{n}]"
    return f"{text.rstrip()} [{n}]"


def snippet(text: str) -> str:
    words = plain(text)
    if len(words) <= SNIPPET:
        return words
    return re.sub(r"\s+\S*$", "", words[:SNIPPET]) + "…"
