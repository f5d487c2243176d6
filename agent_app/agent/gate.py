"""What a model wrote passes here, sentence by sentence, before anyone sees it.

Marks of sources that were not retrieved, images and unknown links are taken out. A sentence that claims an act which
no tool of this turn performed is held back, and everything after it. Sentences that say "I do not know" pass.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from agent_app.agent.acts import ANY, LOOKED, deeds_of, kinds
from agent_app.agent.claims import Claim, claims, plain
from agent_app.knowledge.citations import Quotes

# A sentence ends here for sure …
END = re.compile(r"\n+|[.!?…]+[\"”’')\]*_]*(?=\s)|[。！？]+[”」』]?")
# … and here in all likelihood, when nothing came after it yet: a customer is not kept waiting for the next word.
LIKELY_END = re.compile(r"(?:^|\s)(?P<word>[^\s]*[^\W\d_]{2}[)\"”’'*_\]]*)[.!?…]+[\"”’')*_]*$")
SHORT_FORMS = frozenset("e.g i.e etc approx mr mrs ms dr prof vs incl inc ltd st no nr www".split())  # noqa: SIM905
LONG_ENOUGH = 25  # characters by which a sentence of ours is known
LONGEST_SENTENCE = 1200  # characters; what has no end by then is judged as it stands

MARK = re.compile(r"[ \t]*(?:\[|【)\^?(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)(?:\]|】)(?!\()")
IMAGE = re.compile(r"!\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
LINK = re.compile(r"\[([^\]]*)\]\(\s*<?([^)\s>]*)>?[^)]*\)")
ADDRESS = re.compile(r"<?((?:[a-z][a-z0-9+.-]*:)?//[^\s<>)\]]+|\bwww\.[^\s<>)\]]+)>?", re.I)
ADDRESS_END = ".,;:!?'\"*_"
STATE_FIELD = re.compile(r"(?:^|_)(?:status|state)$")
MOMENT_FIELD = re.compile(r"^(\w+)_(?:at|on)$")
OF_THE_DESK = frozenset({"note", "person", "ticket"})


@dataclass
class Evidence:
    """What this turn brought in: what may be cited, linked to, and told as done."""

    quotes: Quotes = field(default_factory=Quotes)
    links: set[str] = field(default_factory=set)
    deeds: set[str] = field(default_factory=set)  # kinds of act that were performed
    states: set[str] = field(default_factory=set)  # kinds of act that a back end says have been performed

    def add_deed(self, tool: str, writes: bool) -> None:
        """A call that succeeded. What only looks, or only speaks to the desk itself, backs no more than that."""
        self.deeds |= (deeds_of(tool) | {ANY}) if writes else (deeds_of(tool) & OF_THE_DESK) | {LOOKED}

    def add_result(self, value: Any) -> None:
        """What a tool's result says in fields of its own: a state, a moment, an address. Prose proves nothing."""
        if is_dataclass(value) and not isinstance(value, type):
            value = {each.name: getattr(value, each.name) for each in fields(value)}
        if isinstance(value, Mapping):
            for name, said in value.items():
                self._add_field(str(name).lower(), said)
                self.add_result(said)
        elif isinstance(value, list | tuple):
            for each in value:
                self.add_result(each)

    def _add_field(self, name: str, said: Any) -> None:
        if not isinstance(said, str) or not said:
            return
        if re.fullmatch(r"https?://[^\s<>\"']{1,500}", said):
            self.links.add(said)
        moment = MOMENT_FIELD.match(name)
        if STATE_FIELD.search(name) and re.fullmatch(r"[\w-]{1,30}", said):
            self.states |= frozenset().union(*(kinds().get(word, frozenset()) for word in said.lower().split("_")))
        elif moment:
            self.states |= kinds().get(moment[1], frozenset())

    def backs(self, claim: Claim) -> bool:
        done = self.deeds | (self.states if claim.told else set())
        return not claim.kinds.isdisjoint(done)


class Gate:
    """One answer on its way out. `longest`: characters of the whole. `ours`: the instructions, `plain`, which do not
    leave.
    """

    def __init__(self, evidence: Evidence, longest: int, ours: str = "") -> None:
        self.evidence = evidence
        self.longest = longest
        self._ours = ours
        self.passed = ""
        self.halted: str | None = None  # "claim": it was told as done and was not; "length": it is long enough
        self._held = ""
        self._apart = False
        self._said: list[str] = []
        self._before: set[str] = set()

    def feed(self, piece: str) -> str:
        """What may be shown now: the sentences that are whole, "" for none."""
        self._held += piece
        return self._pass(self._whole())

    def finish(self) -> str:
        """The rest, when the model has ended."""
        held, self._held = self._held.rstrip(), ""
        return self._pass([held] if held else [])

    def next_step(self, again: bool = False) -> None:
        """The model writes on after a tool's result: a paragraph of its own. `again`: it was stopped, and a sentence
        that it has said before is not said twice.
        """
        self.halted, self._held, self._apart = None, "", True
        self._before = set(self._said) if again else set()

    def _whole(self) -> list[str]:
        found = []
        start = 0
        for end in END.finditer(self._held):
            if not self._ends_nothing(self._held[start : end.end()]):
                found.append(self._held[start : end.end()])
                start = end.end()
        rest = self._held[start:]
        likely = LIKELY_END.search(rest)
        if likely and not self._ends_nothing(rest) and not re.search(r"[/@\\]|\w\.\w", likely["word"]):
            found.append(rest)
            rest = ""
        elif len(rest) > LONGEST_SENTENCE:
            cut = rest.rfind(" ", 0, LONGEST_SENTENCE) + 1 or LONGEST_SENTENCE
            found.append(rest[:cut])
            rest = rest[cut:]
        self._held = rest
        return found

    @staticmethod
    def _ends_nothing(sentence: str) -> bool:
        """The dot of "e.g." and "1." at the head of a line."""
        words = sentence.split()
        last = words[-1].rstrip(".").lower() if words else ""
        return sentence.endswith(".") and (last in SHORT_FORMS or (len(words) == 1 and last.isdigit()))

    def _pass(self, sentences: list[str]) -> str:
        said = ""
        for sentence in sentences:
            if self.halted:
                break
            clean = self._clean(sentence)
            if clean.strip() in self._before or self._is_ours(clean):
                continue
            if not self.passed or (self._apart and clean.strip()):
                clean = ("\n\n" if self.passed else "") + clean.lstrip()
                self._apart = False
            if self._claims_too_much(clean):
                self.halted = "claim"
            elif len(self.passed) + len(clean) > self.longest:
                self.halted = "length"
            else:
                self.passed += clean
                self._said.append(clean.strip())
                said += clean
        return said

    def _claims_too_much(self, sentence: str) -> bool:
        if any(not self.evidence.backs(claim) for claim in claims(sentence)):
            return True
        # A claim that is cut in two by a dot or a line break that ended no sentence: read together with what it goes
        # on from.
        before = self.passed.rstrip()[-200:]
        goes_on = before and (before[-1] not in ".!?…" or sentence.lstrip()[:1].islower())
        if not goes_on:
            return False
        start = max(before.rfind(mark, 0, -1) for mark in ".!?\n") + 1
        together = before[start:].rstrip(".!?…:;- \n") + " " + sentence.lstrip(" \t\n-•*–—")
        return any(not self.evidence.backs(claim) for claim in claims(together))

    def _is_ours(self, sentence: str) -> bool:
        words = plain(sentence).strip(" -")
        return len(words) >= LONG_ENOUGH and words in self._ours

    def _clean(self, sentence: str) -> str:
        sentence = IMAGE.sub(r"\1", sentence)
        sentence = LINK.sub(lambda link: link[0] if self._may_link(link[2]) else link[1], sentence)
        sentence = ADDRESS.sub(self._address, sentence)
        return MARK.sub(self._mark, sentence)

    def _may_link(self, address: str) -> bool:
        return address in self.evidence.links

    def _address(self, found: re.Match[str]) -> str:
        address = found[1].rstrip(ADDRESS_END)
        return found[0] if self._may_link(address) else found[1][len(address) :]

    def _mark(self, found: re.Match[str]) -> str:
        known = {citation["n"] for citation in self.evidence.quotes.citations}
        kept = [number for number in re.findall(r"\d+", found[1]) if int(number) in known]
        return (" " if found[0][0] in " \t" and kept else "") + "".join(f"[{number}]" for number in kept)

    def citations(self) -> tuple[dict[str, Any], ...]:
        """Those that the answer cites, with the numbers that it cites them by."""
        cited = {int(number) for number in re.findall(r"\[(\d{1,3})\]", self.passed)}
        return tuple(citation for citation in self.evidence.quotes.citations if citation["n"] in cited)
