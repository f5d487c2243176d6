"""Greetings, thanks, goodbyes, and a yes or no to nothing: recognised without touching knowledge."""

import re

from agent_app.agent import catalogue
from agent_app.agent.consent import is_yes_or_no

GREETING = (
    r"(?:hi|hello|hey|hiya|howdy|good (?:morning|afternoon|evening|day)|greetings|hallo|moin)"
    r"(?: there| again| everyone| team)?"
)
THANKS = (
    r"(?:(?:ok(?:ay)?|great|perfect|cool|super|wonderful|awesome|excellent|good|nice|alright),? )?"
    r"(?:many thanks|thanks(?: a lot| so much| very much| for (?:your|the) help)?|thank you"
    r"(?: so much| very much| for (?:your|the) help| a lot)?|thx|ty|cheers|much appreciated)"
    r"(?:,? (?:that|this|it) (?:helps|helped|was (?:very )?helpful)(?: a lot)?)?"
)
PLEASED = (
    r"(?:ok(?:ay)?|great|perfect|cool|super|wonderful|awesome|excellent|nice|alright|got it|i see|understood|fine|"
    r"that (?:helps|helped)(?: a lot)?|that was (?:very )?helpful|all (?:good|clear))"
)
GOODBYE = (
    r"(?:bye(?:[ -]bye)?|goodbye|good bye|see you(?: later| soon)?|have a (?:nice|good|great) (?:day|evening|weekend)"
    r"|good night|that(?:'s| is| was) (?:all|it|everything)|nothing else"
    r"|no,? (?:thanks|thank you)(?:,? that(?:'s| is) all)?)"
)
HOW_ARE_YOU = r"how(?:'s| is) it going|how are you(?: doing)?(?: today)?|what'?s up|how do you do"
REAL = r"(?:a |an )?(?:real |live |actual )?"
NATURE = r"(?:(?:ro)?bot|ai|machine|computer|chatbot|human(?: being)?|person)"
WHO_ARE_YOU = (
    rf"(?:who|what) are you|(?:are you|is this) (?:really |actually )?(?:{REAL}{NATURE}|real)"
    rf"|am i (?:talking|speaking|chatting) (?:to|with) {REAL}{NATURE}"
    r"|what(?:'s| is) your name"
)
WHAT_CAN_YOU_DO = (
    r"what can you do(?: for me)?|how can you help(?: me)?|what can i ask(?: you)?|what do you know"
    r"|help(?: me)?(?: please)?|can you help(?: me)?(?: please)?"
    r"|i (?:need|have) (?:some )?(?:help|a question)(?: please)?"
)

REPLIES = (
    (WHO_ARE_YOU, catalogue.WHO_I_AM),
    (HOW_ARE_YOU, catalogue.HOW_I_AM),
    (WHAT_CAN_YOU_DO, catalogue.WHAT_I_CAN_DO),
    (GREETING, catalogue.GREETING),
    (THANKS, catalogue.WELCOME),
    (GOODBYE, catalogue.GOODBYE),
    (PLEASED, catalogue.GLAD),
)
ENDING = r"(?:[\s,.!]+(?:then|please|for now|and )?)*"
WHOLE = tuple((re.compile(rf"(?:{words})", re.IGNORECASE), reply) for words, reply in REPLIES)
OPENING = re.compile(rf"^{GREETING}[\s,.!–-]+(?=\S)", re.IGNORECASE)


def reply_to(text: str) -> str | None:
    """What to say to a message that is small talk and nothing else; None when there is more in it."""
    said = text.replace("’", "'").strip(" \t\n.,!?:;)(-–…🙂👍🙏😊")
    rest = OPENING.sub("", said)  # "hello, how are you"
    for pattern, reply in WHOLE:
        if pattern.fullmatch(said) or pattern.fullmatch(rest):
            return reply
    parts = [part for part in re.split(r"[.,!]+\s*|\s+and\s+", said) if part]
    if len(parts) > 1 and len(parts) <= 3:
        replies = [next((reply for pattern, reply in WHOLE if pattern.fullmatch(part)), None) for part in parts]
        if all(replies):
            return replies[-1]
    # Where something waited for it, code has heeded it before any responder is asked.
    return catalogue.WHAT_FOR if is_yes_or_no(rest) else None


def without_greeting(text: str) -> str:
    """ "Hello, where is my order?" asks where the order is."""
    return OPENING.sub("", text.strip(), count=1)
