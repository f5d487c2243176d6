"""What a message asks: one question or several, and whether it leans on what was said before."""

import re
from collections.abc import Callable

from agent_app.agent.events import TurnContext
from agent_app.agent.smalltalk import reply_to

MOST = 4  # questions of one message that are answered
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
ASKING = re.compile(
    r"^(?:and |but |so |also |or )?"
    r"(?:how|what|when|where|which|who|whom|whose|why|can|could|may|do|does|did|is|are|was|were"
    r"|will|would|should|must|have|has|am|shall|i (?:want|need|would like) to know"
    r"|(?:please )?(?:tell me|let me know|show me))\b",
    re.IGNORECASE,
)
# "… and how do I …", "… and tell me where …": a second question in the same sentence.
SECOND = re.compile(
    r"(?:,\s*|\s+)(?:and|also|and also|or)\s+"
    r"(?=(?:how|what|when|where|which|who|why|can i|can you|could you|do you|do i|is there|are there)\b"
    r"|(?:please\s+)?(?:tell me|let me know|show me)\b"
    r"|(?:please\s+)?(?:cancel|return|refund|track|send|ship|deliver|redirect|change|update)\b[^.?!]{0,40}?(?:\border\s+#?\d{3,10}|\b\d{4})\b)",
    re.IGNORECASE,
)
# Asks for what was just said, and nothing else.
CAN_YOU = re.compile(
    r"^\W*(?:and )?(?:(?:can|could|will|would) (?:you|we|i)\b.*\b(?:that|this|it)\b"
    r"|(?:is|would) (?:that|this|it)(?: be)? (?:possible|ok(?:ay)?|all ?right|fine)\b)",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

OPENS_FOLLOW_UP = re.compile(
    r"^\W*(?:and|but|or|so|then|what about|how about|what if|also|even|same|only)\b", re.IGNORECASE
)
POINTS_BACK = re.compile(
    r"\b(?:it|its|that|this|those|these|them|they|ones?|there|then|same|the (?:first|second|third|last|other) one)\b",
    re.IGNORECASE,
)
# What only adds to a question, "from Germany?", and what only asks for more of it, "how long do I have?".
ADDS = re.compile(
    r"^\W*(?:in|on|at|for|from|to|with|without|by|during|after|before|until|outside|inside|via)\b", re.IGNORECASE
)
ASKS_MORE = re.compile(
    r"^\W*(?:(?:until |since )?when|where|why|how (?:much|many|long|soon|often|far|expensive)|what time)"
    r"(?: (?:is|are|was|will|does|do|can|would|it|they|that|this|i|we|you|have|has|take|cost|be|need|to|for|get|wait"
    r"|pay|exactly|then|please|days|in total))*\W*$",
    re.IGNORECASE,
)
FRAGMENT = 4  # words
SHORT = 6  # words: longer messages say what they are about
MOST_BEFORE = 3  # earlier messages that a follow-up is understood with


def never(part: str) -> bool:
    return False


def split(
    text: str,
    is_change: Callable[[str], bool] = never,
    is_reply: Callable[[str], bool] = never,
    is_wish: Callable[[str], bool] = never,
) -> list[str]:
    """The questions in a message, each with the statements before it, for those say what it is about.

    What asks for a change (`is_change`) or answers us (`is_reply`) is whole in itself: what was said before and after
    is about something else. So is a wish (`is_wish`) that "and" parts from a question of another subject: "I want to
    cancel my order and how do I wash wool?". Of more than MOST questions, the rest of the message is not read.
    """
    found: list[str] = []
    waiting: list[str] = []
    changes = False  # whether the last one found is a change
    for sentence in SENTENCE.split(text):
        for place, part in enumerate(SECOND.split(" ".join(sentence.split()))):
            if len(found) > MOST:
                return found
            if not WORD.search(part):
                continue
            waiting.append(part)
            if is_change(part):
                found.append(part)
                waiting, changes = [], True
            elif part.endswith("?") or ASKING.match(part):
                before = " ".join(waiting[:-1])
                added = place > 0 and not (points_back(part) or leans_on_earlier(part))
                if is_reply(before) or (added and is_wish(before)):  # "12 Oak Lane, Galway. And when will it arrive?"
                    found.append(before)
                    waiting = [part]
                if changes and CAN_YOU.match(part):  # "Cancel order 1050. Can you do that?"
                    found[-1] = " ".join([found[-1], *waiting])
                else:
                    found.append(" ".join(waiting))
                    changes = False
                waiting = []
    if not found:
        return [" ".join(waiting)] if waiting else []
    rest = " ".join(waiting)
    if waiting and is_reply(rest):
        found.append(rest)
    elif waiting and len(found) == 1:
        found[0] = f"{found[0]} {rest}"
    return found


def is_follow_up(text: str) -> bool:
    return len(WORD.findall(text)) <= SHORT or leans_on_earlier(text) or points_back(text)


def points_back(text: str) -> bool:
    return bool(POINTS_BACK.search(text))


def leans_on_earlier(text: str) -> bool:
    """It cannot be understood by itself: "and for children?", "what about the second one?"."""
    return is_fragment(text) or (bool(OPENS_FOLLOW_UP.match(text)) and len(WORD.findall(text)) <= SHORT + 2)


def is_fragment(text: str) -> bool:
    """It names no subject: whatever it seems to ask by itself, the question before it says what it is about."""
    adds = ADDS.match(text) is not None and len(WORD.findall(text)) <= FRAGMENT
    return adds or ASKS_MORE.match(text) is not None


def asked_before(context: TurnContext) -> str | None:
    """The customer's latest answered question, with what that leaned on itself.

    "Do you ship to Norway?", "and to the US?", "how long does it take?": the last one asks of shipping. What is only a
    number or small talk asked nothing.
    """
    earlier = [m.text for m in context.messages if m.role == "customer" and m.seq <= context.answered_upto]
    asked = [text for text in earlier if says_something(text)][-MOST_BEFORE:]
    begins = max((place for place, text in enumerate(asked) if not leans_on_earlier(text)), default=0)
    return " ".join(asked[begins:]) or None


def says_something(text: str) -> bool:
    return reply_to(text) is None and any(word.isalpha() for word in WORD.findall(text))
