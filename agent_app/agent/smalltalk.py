"""Greetings, thanks, goodbyes, and a yes or no to nothing: recognised without touching knowledge."""

import re

from agent_app.agent import catalogue
from agent_app.agent.consent import is_yes_or_no

GREETING = (
    r"(?:hi|hello|hey|heya|hiya|howdy|good (?:morning|afternoon|evening|day)|greetings|hallo|moin)"
    r"(?: there| again| everyone| team)?"
)
MET = (
    r"(?:nice|good|pleased|great) to (?:meet|see) you(?: too)?"
    r"|are you (?:still )?(?:there|here|online)|test(?:ing)?|ping"
    r"|(?:merry|happy) (?:christmas|easter|holidays|new year)(?: to (?:you|you all|all|everyone|the team))?"
)
THANKING = (
    r"(?: (?:a (?:lot|million|bunch|ton)|so much|very much|again|mate|man|bro|guys|everyone|all"
    r"|for (?:(?:all )?(?:your|the) (?:help|answers?|information|info|quick (?:reply|answer|help))"
    r"|everything|that|this)))*"
)
THANKS = (
    r"(?:(?:ok(?:ay)?|great|perfect|cool|super|wonderful|awesome|excellent|good|nice|alright),? )?"
    rf"(?:many thanks|(?:thanks|thank (?:you|u)|thankyou){THANKING}|thx|thanx|tnx|ty(?:sm|vm)?|cheers|much appreciated"
    r"|(?:i )?appreciate (?:it|that|your help))"
    r"(?:,? (?:that|this|it) (?:helps|helped|was (?:very )?helpful)(?: a lot)?)?"
)
PLEASED = (
    r"(?:ok(?:ay)?|kk?|great|perfect|cool(?: cool)?|super|wonderful|awesome|excellent|nice|alright|got it|i see"
    r"|understood|fine|brilliant|amazing|wow|lol|(?:ha ?){2,}|(?:he ?){2,}|noted|(?:that )?(?:makes sense|sounds good)"
    r"|good to know"
    r"|that (?:helps|helped)(?: a lot)?|that was (?:very )?helpful|all (?:good|clear)|no (?:worries|problem)"
    r"|(?:great|good|nice) (?:job|work|answer|bot)|well done|i (?:love|like) (?:you|it|this)"
    r"|you(?:'re| are|'ve been| have been) (?:so |very |really |the )?"
    r"(?:great|best|good|awesome|amazing|wonderful|brilliant|helpful|kind|nice|a star))"
)
SORRY = r"(?:oh |oops,? )?(?:(?:i'm |i am |so )?sorry(?: about that)?|my (?:bad|mistake)|apologies|oops)"
GOODBYE = (
    r"(?:bye(?:[ -]bye)?(?: now| for now)?|goodbye|good bye|see (?:you|ya)(?: later| soon| around| tomorrow)?|cya|ttyl"
    r"|take care|(?:talk|speak) (?:to you )?(?:later|soon)"
    r"|(?:have|enjoy) (?:a |your )?(?:nice |good |great |lovely )?(?:day|evening|weekend|night)"
    r"|good night|that(?:'s| is| was) (?:all|it|everything)|nothing else|you too"
    r"|no,? (?:thanks|thank you)(?:,? that(?:'s| is) all)?)"
)
HOW_ARE_YOU = r"how(?:'s| is) it going|how are you(?: doing)?(?: today)?|what'?s up|how do you do"
REAL = r"(?:a |an )?(?:real |live |actual )?"
NATURE = r"(?:(?:ro)?bot|ai|machine|computer|chatbot|human(?: being)?|person)"
WHO_ARE_YOU = (
    rf"(?:who|what) are you|(?:are you|is this) (?:really |actually )?(?:{REAL}{NATURE}|real)"
    rf"|am i (?:talking|speaking|chatting) (?:to|with) {REAL}{NATURE}"
    r"|what(?:'s| is) your name|do you have a name|how old are you|who (?:made|built|created) you"
    r"|(?:which|what) (?:language )?model are you|are you (?:chat ?gpt|an? (?:llm|language model|assistant))"
)
WHAT_CAN_YOU_DO = (
    r"what can you do(?: for me)?|how can you help(?: me)?|what can i ask(?: you)?|what do you (?:know|do)|menu"
    r"|help(?: me)?(?: please)?|(?:can|could) you help(?: me)?(?: out)?(?: with something)?(?: please)?"
    r"|(?:can|could|may) i ask (?:you )?(?:something|a question)"
    r"|i (?:need|have) (?:some |your )?(?:help|(?:a|some|another|one more) (?:quick )?questions?)(?: please)?"
)
IT = r"(?:that|this|it)"
AGAIN = r"(?: again)?(?: (?:to|for) me)?(?:,? please)?"
DOUBT = (
    rf"are you (?:really |quite |absolutely |very )?(?:sure|certain|serious)(?: (?:about|of) {IT})?|really|says who"
    rf"|(?:is|was) {IT} (?:really |still )?(?:true|right|correct|up to date|for real)|how do you know(?: {IT})?"
    rf"|where (?:did|do) you (?:get|have|know) {IT} from"
    rf"|(?:(?:what(?:'s| is) )?(?:your|the) )?sources?(?: (?:of|for) {IT})?"
    rf"|(?:(?:can|could|would) you )?(?:please )?(?:repeat|explain|clarify|rephrase)(?: {IT})?{AGAIN}"
    rf"|(?:(?:can|could) you )?(?:please )?say {IT}{AGAIN}|once more|(?:come )?again|pardon(?: me)?|huh|what"
    rf"|i (?:don't|do not|didn't|did not) (?:understand|get)(?: {IT}| you)?|what (?:do|did) you mean(?: by {IT})?"
    rf"|what does {IT} mean"
)

REPLIES = (
    (WHO_ARE_YOU, catalogue.WHO_I_AM),
    (HOW_ARE_YOU, catalogue.HOW_I_AM),
    (WHAT_CAN_YOU_DO, catalogue.WHAT_I_CAN_DO),
    (f"{GREETING}|{MET}", catalogue.GREETING),
    (THANKS, catalogue.WELCOME),
    (GOODBYE, catalogue.GOODBYE),
    (PLEASED, catalogue.GLAD),
    (SORRY, catalogue.NO_MATTER),
    (DOUBT, catalogue.WHERE_FROM),
)
# One pattern, whose groups are the replies in their order: every message is asked for all of them.
WHOLE = re.compile("|".join(f"({words})" for words, _ in REPLIES), re.IGNORECASE)
PARTS = re.compile(r"[.,!]+\s*|\s+and\s+")
OPENING = re.compile(rf"^{GREETING}[\s,.!–-]+(?=\S)", re.IGNORECASE)


def kind_of(words: str) -> int | None:
    """Which of REPLIES these words get, where they are small talk and nothing else."""
    found = WHOLE.fullmatch(words)
    return found.lastindex - 1 if found is not None and found.lastindex else None


def without_signs(text: str) -> str:
    """Without full stops, hearts and faces round it. By hand: a pattern costs the square of a run of signs."""
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def reply_to(text: str) -> str | None:
    """What to say to a message that is small talk and nothing else; None when there is more in it."""
    said = without_signs(" ".join(text.replace("’", "'").split()))
    rest = OPENING.sub("", said)  # "hello, how are you"
    kinds = [kind for words in {said, rest} if (kind := kind_of(words)) is not None]
    if kinds:
        return REPLIES[min(kinds)][1]
    parts = [part for part in PARTS.split(said) if part]
    if 1 < len(parts) <= 3:
        said_of = [kind_of(part) for part in parts]
        if (last := said_of[-1]) is not None and None not in said_of:
            return REPLIES[last][1]
    # Where something waited for it, code has heeded it before any responder is asked.
    return catalogue.WHAT_FOR if is_yes_or_no(rest) else None


def without_greeting(text: str) -> str:
    """ "Hello, where is my order?" asks where the order is."""
    return OPENING.sub("", text.strip(), count=1)
