"""Every sentence that the agent says of its own accord. What is not here stands in a source that it cites."""

PERSON = "If you write “I want to talk to a person”, someone from our team will take over here."

TROUBLE = (
    "I am sorry, something went wrong on our side while I was looking for your answer. "
    "Please try again in a moment. " + PERSON
)
DONT_KNOW = "I am sorry, I do not know the answer to that: I could not find it in our help pages. " + PERSON
DONT_KNOW_PART = "I could not find an answer to “{question}” in our help pages. " + PERSON
CLARIFY = "I am not sure that I understood you. Did you mean one of these?"
CLARIFY_END = "Answer with the number, or put your question in other words. " + PERSON
NONE_OF_THESE = "Then please tell me in other words what you would like to know. " + PERSON
WHICH_OF_THESE = "Which one do you mean? " + CLARIFY_END
FOREIGN = (
    "I am sorry, I can only answer in the language of our help pages ({languages}), and your message seems to be in "
    "another one. Please write in {languages} if you can. " + PERSON
)
EMPTY = "Your message has no words that I could look for. Please tell me in a sentence what you would like to know."
READ = "I can look into what you attached. What would you like to know about it?"
SHORTENED = (
    "This file is so long that I read its beginning only. Please paste the part that matters if it stands later."
)
PICTURE = "I cannot look at pictures, so please tell me what it is about. A person can look at them. " + PERSON
NOTED = "Thank you, I have noted this:\n\n{facts}"
KNOWN = "This is what you told me:\n\n{facts}"
NOTHING_KNOWN = "You have not told me that yet. I keep what you tell me of your name, your sizes or how to reach you."
TOO_LONG = "There is more in the help pages that the numbers lead to."

MODEL_AWAY = "Our assistant cannot be reached right now, so here is what I can say without it."
MODEL_AWAY_AFTERWARDS = (
    "The answer breaks off here: our assistant cannot be reached any more. Here is what I can say without it."
)
OVER_BUDGET = "Our assistant has done what it may for now, so here is what I can say without it."
CLAIMED_TOO_MUCH = (
    "I have to be exact here: I have done nothing beyond what is confirmed above, and I cannot promise it. " + PERSON
)
MORE_THAN_FITS = "There is more to say than fits into one message: ask me for the part that you need."

HANDED_OVER = (
    "I have asked a person to take over. Your ticket number is {ticket}. "
    "Someone will answer you right here; until then you can add details, and I go on helping where I can."
)
GAVE_UP = (
    "I could not help you several times now, so I have asked a person to take over. Your ticket number is {ticket}. "
    "Someone will answer you right here."
)
NOBODY_NOW = "Right now nobody is at the desk. People are there {hours}."
STILL_WAITING = "Your request is with our team under ticket {ticket}, and a person will answer you right here."

# ---- about something to confirm; {summary} is the tool's own sentence ----

YES, NO = "Yes, I confirm.", "No, leave it as it is."  # what a click on the card says
SHALL_I = "Shall I do this? Nothing happens before you confirm it."
ASK = "{summary}\n\n" + SHALL_I
ON_THE_CARD = "Nothing is changed before you confirm what stands on the card below."
DONE = "Done: {summary}"
LEFT = "All right, I leave it as it is. Not done: {summary}"
TOO_LATE = (
    "I had begun with this already, and cannot tell whether it was done: {summary}\n\n"
    "Please ask me how it stands. " + PERSON
)
NOT_DONE = "This could not be done, and nothing was changed: {summary}\n\n{why}"
IN_DOUBT = (
    "I am sorry, our system did not answer, and I cannot tell whether this was done: {summary}\n\n"
    "You can confirm it once more; it is never done twice. " + PERSON
)
CUT_SHORT = (
    "I had begun with this, and cannot tell whether it was done: {summary}\n\n"
    "You can confirm it once more; it is never done twice."
)
FIRST_THE_OTHER = "But first I have to know about the change above: tell me about this one after that."
NOT_OPEN = "That is not open to confirm any more. Tell me again what you would like me to do."
NOT_CLEAR = (
    "I have not done this yet: {summary}\n\n"
    "If you want it, use the button under my question, or ask me for it once more."
)
SETTLED = {
    "done": "This is done already: {summary}",
    "declined": "You had said no to this, so I have left it: {summary}\n\nTell me if you want it after all.",
    "expired": "I asked you that too long ago, so nothing was done: {summary}\n\nTell me if you still want it.",
    "refused": "This could not be done, and nothing was changed: {summary}",
}

# ---- about orders, invoices and stock ----

VERIFY = (
    "I can only look at orders and invoices, or change anything, for somebody whom the shop has recognised. Please log "
    "in on the shop's website and open this chat again from there. Then I know who you are, and can help you. " + PERSON
)
VERIFY_HINT = "If you log in on the shop's website and open this chat from there, I can look at your own orders here."
AWAY = (
    "I am sorry, our system for this does not answer at the moment, so I cannot look that up or change anything. "
    "Please try again in a few minutes. " + PERSON
)
REFUSED = "I am sorry, that cannot be done here. " + PERSON
NO_ORDER_BEGINS = "I find no order"
NO_ORDER = NO_ORDER_BEGINS + " {number} of yours. Is the number right?"
WHICH_ORDER = "Which order do you mean?"
WHICH_ADDRESS_BEGINS = "What is the new address for order"
WHICH_ADDRESS = WHICH_ADDRESS_BEGINS + " {number}? Please write it on one line, with the postcode."
NO_ORDER_FOR = {
    "cancel_order": "You have no order that can still be cancelled: that goes until an order is packed.",
    "return_order": "You have no delivered order that could be returned.",
    "change_delivery_address": "You have no order whose address can still be changed: that goes until it is packed.",
}
ONE_AT_A_TIME = "I do one change at a time, so this one is left for now: {summary}\n\nTell me about it afterwards."
AT_ONCE = "That is more than I do at once: ask me again about {orders}."
MORE_ASKED = "There is more in your message than I answer at once: ask me again about what is missing here."
NONE_IN_STATE = {
    "cancel_order": "None of your orders is cancelled.",
    "return_order": "No return of an order of yours is under way.",
}
NOT_IN_STATE = {"cancel_order": "It is not cancelled.", "return_order": "No return of it is under way."}

TO_THIS_ADDRESS = "to this address:"  # in the summary of a change of address

WHAT_FOR = "Nothing is open that waits for your yes or no. What would you like to know, or what can I do for you?"
GREETING = "Hello! Tell me what you would like to know, and I will look it up in our help pages."
WELCOME = "You are welcome. Is there anything else I can look up for you?"
GLAD = "Good. Is there anything else I can look up for you?"
NO_MATTER = "That is no problem. What can I look up for you?"
GOODBYE = "Goodbye, and thank you for writing to us."
HOW_I_AM = "Thank you, I am fine. What can I look up for you?"
WHO_I_AM = (
    "I am this shop's assistant, a computer program. I answer from our help pages and show where an answer comes "
    "from. " + PERSON
)
WHERE_FROM = (
    "What I say stands in our help pages, where the number behind it leads, or is what the shop has on record. I "
    "cannot put it in other words, but ask me about any part of it. " + PERSON
)
WHAT_I_CAN_DO = (
    "I can answer questions about what our help pages cover, such as orders, delivery, returns and payment. "
    "Ask me in your own words. " + PERSON
)

LANGUAGES = {
    "ar": "Arabic", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "zh": "Chinese",
}  # fmt: skip
