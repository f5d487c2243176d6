"""What is wrong with an answer, or with a whole chat: what the scenario says, and what holds for every chat."""

from collections.abc import Sequence
from typing import Any

from agent_app.simulation.books import Books, secrets_of_others
from agent_app.simulation.scenario import Expectation, Scenario

Message = dict[str, Any]


def wrong_with_answer(expected: Expectation, answer: Message, tools: Sequence[str]) -> list[str]:
    text = answer["text"]
    found = [f"the answer lacks {wanted!r}" for wanted in expected.reply if wanted.lower() not in text.lower()]
    found += [f"the answer contains {lacked!r}" for lacked in expected.lacks if lacked.lower() in text.lower()]
    if expected.matches is not None and not expected.matches.search(text):
        found.append(f"the answer does not match {expected.matches.pattern!r}")
    cited = [citation["url"] for citation in answer["citations"]]
    found += [
        f"{slug} is not cited, but {cited or 'nothing'}" for slug in expected.cites if f"/help/{slug}/" not in cited
    ]
    found += [f"{tool} did not run, but {list(tools) or 'nothing'}" for tool in expected.tools if tool not in tools]
    found += wrong_offer(expected.confirm, answer.get("confirm"))
    return found + wrong_choices(expected.choices, answer.get("choices") or [])


def wrong_offer(expected: str | bool | None, offer: Message | None) -> list[str]:
    match expected, offer:
        case (True | str(), None):
            return ["nothing is offered to be confirmed"]
        case False, dict():
            return [f"it is offered to be confirmed: {offer['summary']}"]
        case str(), dict() if expected.lower() not in offer["summary"].lower():
            return [f"what is offered lacks {expected!r}: {offer['summary']}"]
    return []


def wrong_choices(expected: tuple[str, ...] | bool | None, choices: Sequence[Message]) -> list[str]:
    labels = [choice["label"] for choice in choices]
    if isinstance(expected, tuple):
        every = " ".join(labels).lower()
        return [f"{wanted!r} is not among the choices {labels}" for wanted in expected if wanted.lower() not in every]
    if expected is not None and expected != bool(labels):
        return [f"the choices are {labels}"]
    return []


def wrong_with_chat(scenario: Scenario, log: Sequence[Message], ended: bool) -> list[str]:
    """`log` is the history as the desk gives it, from its first message."""
    found = []
    if [message["seq"] for message in log] != list(range(1, len(log) + 1)):
        found.append(f"the messages are numbered {[message['seq'] for message in log]}")
    sent = [message.get("client_id") for message in log if message["role"] == "customer"]
    if len(set(sent)) != len(sent):
        found.append("a message is stored twice")
    answers = [message for message in log if message["role"] == "agent"]
    covered = [message["reply_to"] for message in answers]
    if len(set(covered)) != len(covered):
        found.append("a message has two answers")
    last = max((message["seq"] for message in log if message["role"] == "customer"), default=0)
    if last > max(covered, default=0) and not ended:
        found.append(f"message {last} has no answer")
    said = [message for message in log if message["role"] != "customer"]
    found += [f"message {message['seq']} is empty" for message in said if not message["text"].strip()]
    for message in said:
        texts = [message["text"], (message.get("confirm") or {}).get("summary", "")]
        for pattern in scenario.never:
            if any(pattern.search(text) for text in texts):
                found.append(f"message {message['seq']} says what it never may: {pattern.pattern!r}")
    return found


def leaks(log: Sequence[Message], books: Books, customer: str | None) -> list[str]:
    """What the desk said of customers other than this one. What the customer wrote themselves may be repeated."""
    written = " ".join(message["text"] for message in log if message["role"] == "customer").lower()
    found = []
    for secret, whose in secrets_of_others(books, customer).items():
        if secret.lower() in written:
            continue
        for message in log:
            if message["role"] != "customer" and secret.lower() in str(message).lower():
                found.append(f"message {message['seq']} tells {whose}: {secret!r}")
    return found
