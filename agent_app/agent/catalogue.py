"""Every sentence that the agent says of its own accord. What is not here stands in a source that it cites."""

TROUBLE = (
    "I am sorry, something went wrong on our side while I was looking for your answer. "
    "Please try again in a moment, or write “I want to talk to a person” and someone will take over."
)
DONT_KNOW = (
    "I am sorry, I do not know the answer to that: I could not find it in our help pages. "
    "If you write “I want to talk to a person”, someone from our team will take over here."
)
HANDED_OVER = (
    "I have asked a person to take over. Your ticket number is {ticket}. "
    "Someone will answer you right here; until then you can add details, and I go on helping where I can."
)
STILL_WAITING = "Your request is with our team under ticket {ticket}, and a person will answer you right here."
