"""What is wanted of an order, and what is only asked after or told.

"Cancel order 1050" and "I want it cancelled" are wishes; "was it cancelled?" and "I have returned it" speak of how the
order stands. The word's form says which, with what governs it in its clause (`mood`).
"""

import re
from dataclasses import dataclass
from enum import Enum

CANCEL, RETURN, ADDRESS = "cancel_order", "return_order", "change_delivery_address"  # the tools

# The words of each act by their form. A done one is a wish only under "I want", "please have …", "can … be".
IT = r"(?:it |them |this |that |my \w+ |order \S+ |\d+ )?"
FORMS = {
    CANCEL: {
        "verb": r"cancel|cancell?ing|call(?:ing)? (?:it )?off",
        "done": r"cancell?ed|called off",
        "noun": r"cancell?ations?",
    },
    RETURN: {
        "verb": rf"returning|refunding|reimburse|(?:send|sending|give|giving) {IT}back",
        "done": rf"returned|refunded|reimbursed|sent {IT}back",
        "noun": r"money back|reimbursement",
        "either": r"return|refund",  # "return order 1031", "my return"
    },
    ADDRESS: {
        "verb": r"change|changing|update|correct|move|redirect|reroute|send|ship|deliver|use",
        "done": r"changed|updated|corrected|moved|redirected|rerouted|sent|shipped|delivered",
        "noun": r"(?:new|different|other|another|wrong) (?:delivery |shipping )?address",
    },
}
NO_ACT = r"(?!\s+(?:label|policy|address|form|slip|window|period|costs?|postage|shipping|rules|conditions))"
WORDS = {
    tool: re.compile(
        "|".join(rf"(?P<{form}>\b(?:{words})\b{NO_ACT if tool == RETURN else ''})" for form, words in forms.items())
    )
    for tool, forms in FORMS.items()
}
A_NOUN_BEFORE = re.compile(r"\b(?:my|the|a|your|this|that|any|no|full|partial|another|of|about|for)\s+$")
A_NOUN_BEHIND = re.compile(r"\s+(?:of|for|on|has|have|is|was|not|status|number|yet|arrived|received|please)\b|\W*$")

LONGEST_LEAD = 30  # characters before a word that say whether it is a noun
LONGEST_CLAUSE = 200  # characters before and behind a word that are looked at
CLAUSE = re.compile(r"[.;:!?,]\s*|\s+(?:and|but|because|since|so|then|–|-)\s+")
OPENERS = r"^\W*(?:(?:and|but|so|ok|okay|hi|hello|hey|well|sorry|also|oh|then|now|thanks|thank you|please)\W+)*"
# How a question after a fact begins, or a wish to be told one …
FACT = re.compile(
    OPENERS
    + r"(?:(?:was|were|is|are|has|had|did|does)(?:n't| not)?|(?:haven't|have) (?:you|i|we|they)|am i|when|where|why"
    r"|who|which|what(?:'s)?|how (?:long|is|are|was|about|far|come|soon|did|does)|any (?:news|update|word)"
    r"|(?:can|could|will|would) you (?:please )?(?:tell|check|see|look|confirm|let me know|find out|verify)"
    r"|tell me|let me know|check|confirm|verify|show|find out|i(?:'d| would)? (?:want|like|need) to (?:know"
    r"|check|see|ask)"
    r"|i wonder|i was wondering|i(?:'m| am) wondering|do (?:you|we) know|status|state)\b"
)
# … but not this: "is it possible to get order 1050 cancelled?"
LEAVE = re.compile(
    OPENERS + r"(?:is|are|would|was) (?:it|there|you) (?:still |be )?(?:possible|able|ok|okay|a way|any way|too)\b"
)
# What is asked for in general, whatever order it is about: the help pages say it.
TERMS = re.compile(
    OPENERS
    + r"(?:how (?:long|many|much|late)\b.*\b(?:have|get|cost|costs|pay|can|may|must)\b|until when|what happens|what if"
    r"|what (?:does|would) it cost|do i (?:have to|need to|must) pay|who pays|is (?:it|that|this) free)\b"
)
# Whether to do it at all: nobody but the customer can say, and nothing is wished yet.
ADVICE = re.compile(
    OPENERS + r"(?:(?:should|shall|ought) (?:i|we)|(?:is|would) it (?:be )?(?:better|worth|best|wise))\b"
)
DENIED = re.compile(
    r"\b(?:do not|don'?t|never|not|no need to|without|instead of|rather than)\s+"
    r"(?:(?:want|wish|need|have|mean)(?: you)? to\s+|want\s+(?:\S+\s+){0,3})?$"
)
WAS_DONE = re.compile(r"\bdid(?:n't| not)?\b[^,;.!?]{0,30}$")
WHEN_YOU = re.compile(
    OPENERS
    + r"(?:when|why|how come|how soon|who|what|which|where)\b[^,;.!?]*\b(?:will|would|won't|do|does|don't|can't)\s+"
    r"(?:you|they|the|your)\b"
)
WANTED = (
    r"(?:want|wants|wanted|need|needs|like|wish|prefer|please|can|could|should|must|may|get|has to|have to|'d rather"
    r"|have (?!(?:you|i|we|they|already|just|now|not|never|also|since|recently|\w+ly)\b)(?=\S))"
)
WANTS_DONE = re.compile(
    rf"\b{WANTED}\b(?!.*\b(?:been|know|was|were|is|are|had|got|whether|if|tell|check|see|confirm)\b)[^,;.!?]*$"
)
STANDS = (
    r"(?:status|state|news|updates?|progress|happen\w*|check\w*|track\w*|look(?:ing)? (?:up|into)|arriv\w*"
    r"|receiv\w*|wait\w*"
    r"|where|got|gotten|came|come|yet|still|confirmed|processed|accepted|approved|complete\w*|due|expect\w*"
    r"|know|hear\w*"
    r"|through|been|paid|credited|under way|late|missing|pending|see)"
)
STATE = re.compile(rf"\b{STANDS}\b")
ASKS_FOR = re.compile(
    r"\b(?:want|need|like|request|ask(?:ing)? for|demand|claim|give|get|have|start|begin|arrange|make|initiate|process"
    rf"|issue|apply|please|can i|could i|may i)\b(?!.*\b{STANDS}\b)[^,;.!?]{{0,40}}$"
)


class Mood(Enum):
    WISH = "wish"
    FACT = "fact"  # told, or asked after
    DENIED = "denied"  # "don't cancel"
    TERMS = "terms"  # asked in general


@dataclass(frozen=True, slots=True)
class Act:
    """A word for an act, where it stands, and how it is meant."""

    tool: str
    start: int
    end: int
    mood: Mood


def acts_in(said: str, *tools: str) -> list[Act]:
    """The words for what these tools do, in lower-case text."""
    found = [
        Act(tool, at.start(), at.end(), mood(said, at, form_of(said, at)))
        for tool in tools
        for at in WORDS[tool].finditer(said)
    ]
    return sorted(found, key=lambda act: act.start)


def form_of(said: str, at: re.Match[str]) -> str:
    form = next(name for name, text in at.groupdict().items() if text)
    if form != "either":
        return form
    lead = said[max(at.start() - LONGEST_LEAD, 0) : at.start()]
    is_noun = A_NOUN_BEFORE.search(lead) or A_NOUN_BEHIND.match(said, at.end())
    return "noun" if is_noun else "verb"


def mood(said: str, at: re.Match[str], form: str) -> Mood:
    clause, before = clause_round(said, at.start())
    if TERMS.match(said) or ADVICE.match(said):
        return Mood.TERMS
    if DENIED.search(before):
        return Mood.DENIED
    if form == "verb":
        return Mood.FACT if WAS_DONE.search(before) or WHEN_YOU.match(clause) else Mood.WISH
    if asks_after(clause):
        return Mood.FACT
    if form == "done":
        return Mood.WISH if WANTS_DONE.search(before) else Mood.FACT
    return Mood.FACT if STATE.search(clause) and not ASKS_FOR.search(before) else Mood.WISH


def asks_after(clause: str) -> bool:
    """It asks how something stands, or says that this is what is wanted to know."""
    return FACT.match(clause) is not None and LEAVE.match(clause) is None


def clause_round(said: str, place: int) -> tuple[str, str]:
    """The clause in which the place is, and what of it stands before."""
    first = max(place - LONGEST_CLAUSE, 0)
    near = said[first : place + LONGEST_CLAUSE]
    ends = [0, *(end.end() for end in CLAUSE.finditer(near)), len(near)]
    here = place - first
    start = max(end for end in ends if end <= here)
    return near[start : min((end for end in ends if end > here), default=len(near))], near[start:here]
