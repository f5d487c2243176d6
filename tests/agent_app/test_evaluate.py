"""`manage.py evaluate`: the numbers, and that nothing else is on stdout."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from agent_app.knowledge.evaluation import auroc, read_questions

pytestmark = pytest.mark.unit

EXAMPLES = [
    ("where is my parcel", "track"),
    ("track my package", "track"),
    ("my parcel has not come", "track"),
    ("how do I pay", "pay"),
    ("can I use a credit card", "pay"),
    ("which cards do you take", "pay"),
]


def lines(path: Path, rows: list[tuple[str, str | None]]) -> str:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return str(path)


def evaluate(*arguments: str) -> str:
    out = StringIO()
    call_command("evaluate", *arguments, stdout=out)
    return out.getvalue()


def test_json_has_the_keys_and_nothing_else(tmp_path: Path) -> None:
    asked = [("where is my package", "track"), ("paying by card", "pay"), ("who is the president", "oos"), ("hm", None)]
    printed = evaluate(
        "--examples",
        lines(tmp_path / "e.jsonl", list(EXAMPLES)),
        "--questions",
        lines(tmp_path / "q.jsonl", asked),
        "--json",
    )
    measured = json.loads(printed)
    assert list(measured) == [
        "accuracy", "top3", "answered", "wrong_among_answered", "oos_auroc", "ece", "p50_ms", "p95_ms", "questions",
    ]  # fmt: skip
    assert measured["accuracy"] == 1.0
    assert measured["questions"] == 4


def test_without_uncovered_questions_there_is_no_auroc(tmp_path: Path) -> None:
    printed = evaluate(
        "--examples",
        lines(tmp_path / "e.jsonl", list(EXAMPLES)),
        "--questions",
        lines(tmp_path / "q.jsonl", [("where is my package", "track")]),
        "--json",
    )
    assert json.loads(printed)["oos_auroc"] is None


def test_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"text": "a", "label": "b"}\nnot json\n')
    with pytest.raises(CommandError, match="line 2"):
        evaluate("--examples", str(tmp_path / "q.jsonl"), "--questions", str(tmp_path / "q.jsonl"))
    with pytest.raises(CommandError, match="--examples"):
        evaluate("--questions", lines(tmp_path / "q.jsonl", [("a", "b")]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xb1\xff\xfe", "not text in UTF-8"),
        (b'{"text": null, "label": "pay"}', "line 1"),
        (b'{"text": "how do I pay", "label": "pay"}\n\n{"text": "how do I pay", "label": ["pay"]}', "line 3"),
        (b'{"text": "how do I pay"}', "line 1"),
    ],
)
def test_what_are_no_questions_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(CommandError, match=said):
        evaluate("--examples", lines(tmp_path / "e.jsonl", list(EXAMPLES)), "--questions", str(tmp_path / "q.jsonl"))


def test_a_question_may_hold_any_sign_of_json(tmp_path: Path) -> None:
    """A mark of order at its beginning, as Windows writes it, and separators of lines that are none of JSON's."""
    (tmp_path / "q.jsonl").write_text('\ufeff{"text": "how\u2028do\x85I pay", "label": "pay"}\r\n', encoding="utf-8")
    assert [question.text for question in read_questions(tmp_path / "q.jsonl")] == ["how\u2028do\x85I pay"]


def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    examples = lines(tmp_path / "e.jsonl", list(EXAMPLES))
    with pytest.raises(CommandError, match="cannot be written: name a file in a folder"):
        evaluate("--examples", examples, "--questions", examples, "--report", str(tmp_path / "nowhere" / "r.html"))


def test_a_report_of_one_article_says_so(tmp_path: Path) -> None:
    examples = lines(tmp_path / "e.jsonl", [("where is my parcel", "track"), ("track my order", "track")])
    asked = lines(tmp_path / "q.jsonl", [("where is it", "track")])
    evaluate("--examples", examples, "--questions", asked, "--report", str(tmp_path / "r.html"))
    assert "<p>1 article, 1 question. " in (tmp_path / "r.html").read_text()


def test_what_several_articles_share_is_said_beside_the_numbers(tmp_path: Path) -> None:
    examples = lines(tmp_path / "e.jsonl", [*EXAMPLES, ("How do I pay?", "track")])
    asked = lines(tmp_path / "q.jsonl", [("where is it", "track")])
    out, beside = StringIO(), StringIO()
    report = tmp_path / "r.html"
    call_command(
        "evaluate",
        "--examples",
        examples,
        "--questions",
        asked,
        "--json",
        "--report",
        str(report),
        stdout=out,
        stderr=beside,
    )
    assert json.loads(out.getvalue())["questions"] == 1
    assert "“How do I pay?”: track, pay" in beside.getvalue()
    assert "<td>How do I pay?</td><td>track, pay</td>" in report.read_text()


def test_auroc() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert auroc([0.5], [0.5]) == 0.5
    assert auroc([0.1], [0.9]) == 0.0
    assert auroc([0.1], []) is None
