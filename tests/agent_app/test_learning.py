"""Learning: like questions come together, and a change shows what else it would alter."""

import pytest

from agent_app.knowledge.evaluation import ask
from agent_app.knowledge.learning import changes, grouped, with_phrasing
from agent_app.knowledge.report import page
from agent_app.knowledge.retrieval import KnowledgeIndex
from tests.agent_app.conftest import Embedding
from tests.agent_app.test_knowledge import questions

pytestmark = pytest.mark.unit


def test_unanswered_questions_come_together_by_meaning(embed: Embedding) -> None:
    texts = ["do you sell kayaks", "what is the weather", "can I buy a kayak from you", "are kayaks for sale here"]
    groups = grouped(texts, embed)
    assert sorted(groups[0]) == [0, 2, 3]
    assert grouped([], embed) == []


def test_a_phrasing_in_the_wrong_article_shows_what_it_would_alter(shop: KnowledgeIndex, embed: Embedding) -> None:
    asked = ["where is my parcel", "how do I pay"]
    wrong = with_phrasing(shop.sources, "jobs", "where is my parcel")
    altered = changes(shop, wrong, asked, embed)
    assert all(change.question == "where is my parcel" for change in altered)
    same = changes(shop, shop.sources, asked, embed)
    assert same == []


def test_the_report_is_a_page(shop: KnowledgeIndex, embed: Embedding) -> None:
    asked = ask(shop, questions("first_ten") + questions("not_covered"), embed)
    html = page(shop, asked, {"accuracy": 1.0})
    assert html.count("<svg") == 2
    assert "Worst confusions" in html
