"""What customers say of themselves is heard without a model, and what only begins alike is not."""

import pytest

from agent_app.agent.told import asked_again, told_in

TOLD = {
    "My name is Ana and my shoe size is 42": [("name", "Ana"), ("shoe size", "42")],
    "my name is ana bell.": [("name", "ana bell")],
    "Hi, my name's Seán O’Brien!": [("name", "Seán O'Brien")],
    "By the way, my name is José-María": [("name", "José-María")],
    "my name is Ana. thanks": [("name", "Ana")],
    "Please call me Ana": [("name", "Ana")],
    "My size is M": [("size", "M")],
    "my jacket size is an XL": [("jacket size", "XL")],
    "My shoe size is 42.5 EU, and I prefer e-mail.": [("shoe size", "42.5 EU"), ("contact", "e-mail")],
    "my height is 180 cm; my weight is about 80 kg": [("height", "180 cm"), ("weight", "80 kg")],
    "My birthday is on 3 May 1990": [("birthday", "3 May 1990")],
    "I'd prefer to be contacted by phone": [("contact", "phone")],
}
NOT_TOLD = (
    "my name is wrong on the invoice",
    "My name is spelled wrong",
    "my name is on the list",
    "My name is not Ana",
    "my size is not available",
    "my size is sold out",
    "my weight is too much for this tent",
    "call me tomorrow at 5",
    "call me back",
    "My order is late",
    "My name is Ana, where is my order?",
    "My name is Ana and my order is late",
    "I prefer the red one",
    "Is my name on the list?",
    "",
)


@pytest.mark.parametrize("text", TOLD)
def test_what_is_told(text: str) -> None:
    assert [(fact.name, fact.value) for fact in told_in(text)] == TOLD[text]


@pytest.mark.parametrize("text", NOT_TOLD)
def test_what_only_begins_alike(text: str) -> None:
    assert told_in(text) == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("What is my name?", "name"),
        ("And what's my shoe size", "shoe size"),
        ("Do you remember my size?", "size"),
        ("Can you tell me my name please?", "name"),
        ("What do you know about me?", ""),
        ("who am I?", ""),
        ("what is my order number?", None),
        ("what is my size in UK sizes?", None),
        ("My name is Ana", None),
    ],
)
def test_what_is_asked_again(text: str, asked: str | None) -> None:
    assert asked_again(text) == asked
