"""Articles as the index sees them: Markdown with front matter in, passages with headings out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import yaml

FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
TABLE_RULE = re.compile(r"^\s*\|?[\s:|-]+\|[\s:|-]*$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
MARKS = re.compile(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}")
SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")

# Characters of one passage: what fits into a chat bubble, and into the 256 word pieces that the model reads well.
LONGEST = 900
# A paragraph, list or table up to this length is quoted whole: steps belong together.
LONG = 2000
SENTENCE_END = re.compile(r"(?<=[.!?…。])\s+")


class NotAnArticle(ValueError):
    """The text cannot be read as an article; the message says what to mend."""


@dataclass(frozen=True)
class Source:
    """One published article, as plain data."""

    slug: str
    title: str
    body: str = ""
    language: str = "en"
    questions: tuple[str, ...] = ()
    address: str = ""  # where it is read, if not on the help pages

    @property
    def url(self) -> str:
        return self.address or f"/help/{self.slug}/"

    @cached_property
    def passages(self) -> tuple["Passage", ...]:
        return tuple(split(self.body))


@dataclass(frozen=True)
class Passage:
    heading: str  # "" for what stands before the first heading
    text: str  # Markdown, verbatim; of a long table's part some rows, below its head
    tabular: bool = False  # a part of a long table
    further: bool = False  # a part that is not the first

    @property
    def head(self) -> str:
        """Of a tabular one: the line that names the columns, and the rule below it."""
        return "\n".join(self.text.split("\n", 2)[:2])

    @property
    def rows(self) -> list[str]:
        return self.text.split("\n")[2:] if self.tabular else []

    @cached_property
    def plain(self) -> str:
        return plain(self.text)


def parse(text: str, slug: str) -> Source:
    """An article from a Markdown file; `slug` is the file's name, for when the front matter gives none."""
    text = text.lstrip("\ufeff")
    found = FRONT_MATTER.match(text)
    try:
        meta = (yaml.safe_load(found[1]) if found else None) or {}
    except yaml.YAMLError as error:
        raise NotAnArticle(f"the front matter is not YAML: {error}") from error
    if not isinstance(meta, dict):
        raise NotAnArticle("the front matter is not a list of `name: value` lines")
    body = text[found.end() :].strip() if found else text.strip()
    title = str(meta.get("title") or "").strip() or title_of(body)
    slug = str(meta.get("slug") or slug)
    if not title:
        raise NotAnArticle("it has no title: write `title: …` between two lines of `---` at the top")
    if not SLUG.fullmatch(slug):
        raise NotAnArticle(f"the slug {slug!r} is not lower-case letters, digits and single hyphens")
    questions = meta.get("questions") or []
    if not isinstance(questions, list):
        raise NotAnArticle("`questions` is not a list")
    return Source(slug, title, body, str(meta.get("language") or "en"), tuple(str(q).strip() for q in questions))


def title_of(body: str) -> str:
    for line in body.splitlines():
        if line.strip():
            heading = HEADING.match(line)
            return heading[1] if heading else ""
    return ""


def split(body: str) -> Iterator[Passage]:
    for heading, blocks in sections(body):
        text = ""
        for block in blocks:
            if text and len(text) + len(block) > LONGEST:
                yield Passage(heading, text)
                text = block
            else:
                text = f"{text}\n\n{block}" if text else block
        if text:
            yield Passage(heading, text)


def parts_of(passage: Passage) -> tuple[Passage, ...]:
    """What of it is quoted: itself, or a very long one cut up. The index holds it whole."""
    if len(passage.text) <= LONG or "```" in passage.text:
        return (passage,)
    return parts_of_long(passage) or (passage,)


# Beside the passage and not on it: what a tool gave is told to a model with all its attributes.
@lru_cache(maxsize=64)
def parts_of_long(passage: Passage) -> tuple[Passage, ...]:
    return tuple(replace(part, further=place > 0) for place, part in enumerate(cut(passage.heading, passage.text)))


def cut(heading: str, block: str) -> Iterator[Passage]:
    """A long block in passages of some LONGEST characters, each of which can be read by itself.

    A table by its rows, the head above each; a list by its items; other text by lines, else by sentences.
    """
    lines = block.split("\n")
    rule = next((n for n, line in enumerate(lines) if n and "-" in line and TABLE_RULE.match(line)), None)
    if rule is None or "|" not in lines[rule - 1]:
        items = [n for n, line in enumerate(lines) if LIST_ITEM.match(line)]
        outer = min((indent(lines[n]) for n in items), default=0)
        starts = sorted({0, *(n for n in items if indent(lines[n]) == outer)}) if items else range(len(lines))
        pieces = ["\n".join([*lines[a:b], ""]) for a, b in pairwise([*starts, len(lines)])]
        for text in filled((short for piece in pieces for short in shortened(piece)), LONGEST):
            if text.strip():
                yield Passage(heading, text.rstrip().lstrip("\n"))
        return
    if rule > 1:
        before = "\n".join(lines[: rule - 1])
        yield from cut(heading, before) if len(before) > LONG else [Passage(heading, before)]
    head = "\n".join(lines[rule - 1 : rule + 1])
    # Below a very long head as many characters of rows, so that all passages are never more than twice the table.
    for rows in filled((f"\n{row}" for row in lines[rule + 1 :]), max(LONGEST - len(head), len(head))):
        yield Passage(heading, head + rows, tabular=True)


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def filled(pieces: Iterable[str], longest: int) -> Iterator[str]:
    """Neighbours joined, as many as fit; what alone is longer stays alone."""
    kept, length = list[str](), 0
    for piece in pieces:
        if kept and length + len(piece) > longest:
            yield "".join(kept)
            kept, length = [], 0
        kept.append(piece)
        length += len(piece)
    if kept:
        yield "".join(kept)


def shortened(text: str) -> Iterator[str]:
    """One line or item as it is, or if it is long by sentences, or where it has none, by words, or by force."""
    if len(text) <= LONG:
        yield text
        return
    sentences = [text[a:b] for a, b in pairwise([0, *(end.end() for end in SENTENCE_END.finditer(text)), len(text)])]
    for part in filled(sentences, LONGEST):
        start = 0
        while len(part) - start > LONG:
            space = part.rfind(" ", start + LONGEST // 2, start + LONGEST)
            end = space if space > 0 else start + LONGEST
            yield part[start:end]
            start = end
        yield part[start:]


def sections(body: str) -> Iterator[tuple[str, list[str]]]:
    """Headings with their blocks: a paragraph, a list, a table or a fenced code each stays whole."""
    heading, blocks, lines, fenced = "", list[str](), list[str](), False
    for line in [*body.splitlines(), ""]:
        if line.lstrip().startswith("```"):
            fenced = not fenced
        found = None if fenced else HEADING.match(line)
        if (line.strip() and not found) or fenced:
            lines.append(line.rstrip())
            continue
        if lines:
            blocks.append("\n".join(lines))
            lines = []
        if found:
            if blocks:
                yield heading, joined_lists(blocks)
            heading, blocks = plain(found[1]), []
    if lines:
        blocks.append("\n".join(lines))
    if blocks:
        yield heading, joined_lists(blocks)


def joined_lists(blocks: list[str]) -> list[str]:
    """A list belongs to the line that introduces it, and a loose list's items belong together."""
    joined: list[str] = []
    for block in blocks:
        introduced = joined and (joined[-1].rstrip().endswith(":") or LIST_ITEM.match(joined[-1].splitlines()[-1]))
        if introduced and LIST_ITEM.match(block):
            joined[-1] = f"{joined[-1]}\n\n{block}"
        else:
            joined.append(block)
    return joined


def plain(text: str) -> str:
    """Markdown without its marks, on one line: what is embedded, counted and shown as a snippet."""
    kept = []
    for line in text.splitlines():
        if TABLE_RULE.match(line):
            continue
        line = LIST_ITEM.sub("", HEADING.sub(r"\1", line)).strip().strip("|")
        kept.append(" ".join(line.replace("|", ", ").split()))
    return MARKS.sub("", LINK.sub(r"\1", " ".join(part for part in kept if part))).replace(" ,", ",")
