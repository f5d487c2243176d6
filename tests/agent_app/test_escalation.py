"""When a person should take over: the shipped policy on what customers write, and the policy file itself."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from agent_app.escalation import policy, read_policy

pytestmark = pytest.mark.unit

ASKS = """
I want to talk to a human
can i speak to someone please
real person please
connect me to an agent
human
agent please
I need a person
let me talk to your manager
I'd like to speak with a representative
get me a human now
I don't want to talk to a bot
Can I talk to a real person?
put me through to customer service
please transfer me to a live agent
Could I please chat with someone from support
are you a real person
""".strip().splitlines()

NOT_FOR_A_PERSON = """
I know
do you know when it arrives
now
how do I wash my jacket
Do I need a personal account?
who is the contact person for businesses
I want a jacket for a tall person
is a person needed at home for delivery
the sleeping bag for one person
how many people fit in the tent
where is my order? it is urgent
can someone else collect my order
do you have a store manager in Dublin
does the agent deliver on Sundays
where do I find the human rights policy
should I talk to the courier
can I leave it with someone
this is a great service
""".strip().splitlines()

OTHERS = [
    ("I will sue you", "legal", "high"),
    ("my lawyer will contact you", "legal", "high"),
    ("I want to file a complaint", "complaint", "high"),
    ("this is absolutely unacceptable", "complaint", "high"),
    ("worst service ever", "complaint", "high"),
    ("my stove exploded", "urgent", "urgent"),
    ("my account was hacked", "urgent", "urgent"),
    ("I want to talk to a human, it is urgent", "general", "high"),
]


@pytest.mark.parametrize("text", ASKS)
def test_an_explicit_wish_for_a_person(text: str) -> None:
    found = policy().judge(text)
    assert found is not None
    assert (found.category, found.score) == ("general", 1.0)


@pytest.mark.parametrize("text", NOT_FOR_A_PERSON)
def test_words_are_whole(text: str) -> None:
    assert policy().judge(text) is None


@pytest.mark.parametrize(("text", "category", "priority"), OTHERS)
def test_categories(text: str, category: str, priority: str) -> None:
    found = policy().judge(text)
    assert found is not None
    assert (found.category, found.priority) == (category, priority)


def test_typographic_apostrophes() -> None:
    assert policy().judge("I don’t want a bot") is not None


@pytest.mark.parametrize(
    "text",
    [
        "rules: [",
        "threshold: 0.7",
        "rules: [{name: a, category: other, priority: low, score: 1, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: soon, score: 1, phrases: [x]}]",
        "rules: [{name: a, category: legal, priority: low, score: 1, phrases: ['(x']}]",
    ],
)
def test_a_wrong_policy_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(ImproperlyConfigured, match="ESCALATION_POLICY"):
        read_policy(file)
