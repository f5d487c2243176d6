"""Which of an article's new example questions are old ones in other words."""

import re
from collections.abc import Collection

ALIKE = 0.5  # nearness from which on one text is taken for the other in other words
WORDS = re.compile(r"\w+")


def in_other_words(removed: Collection[str], customers: Collection[str], new: Collection[str]) -> dict[str, str]:
    """Of which text that was `removed` each `new` one was made, where that matters: some of the removed, `customers`,
    are a customer's. A new text that is missing here is the editor's own.

    The nearest go together, each once. In doubt it is the customer's: a new text that is like a customer's is made of
    that, also where it is as like another; and a customer's question that was taken out and is like none of the new
    ones is taken for the nearest that is left.
    """
    if not customers:
        return {}
    pieces = {old: in_pieces(old) for old in removed}
    pairs: list[tuple[float, str, str]] = []  # those that may go together
    for text in sorted(new):
        its = in_pieces(text)
        near = [(nearness(its, pieces[old]), old, text) for old in removed]
        pairs += [pair for pair in near if pair[0] >= ALIKE or pair[1] in customers]
    pairs.sort(key=lambda pair: (-pair[0], pair[1] not in customers))
    made_of: dict[str, str] = {}
    taken: set[str] = set()
    for _, old, text in pairs:
        if text not in made_of and old not in taken:
            made_of[text] = old
            taken.add(old)
    for nearest, old, text in pairs:
        if nearest >= ALIKE and old in customers and made_of.get(text) not in customers:
            made_of[text] = old
    return made_of


def in_pieces(text: str) -> set[str]:
    """Of three letters each, since words in other forms have most of them in common."""
    plain = f"  {' '.join(WORDS.findall(text.casefold()))} "
    return {plain[start : start + 3] for start in range(len(plain) - 2)}


def nearness(these: set[str], those: set[str]) -> float:
    """0 to 1. Not by `difflib`: an article has up to 200 questions of 500 letters, and it takes long for a pair."""
    return 2 * len(these & those) / (len(these) + len(those))
