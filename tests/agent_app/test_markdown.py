import pytest

from agent_app.markdown import to_html, to_text

pytestmark = pytest.mark.unit


def test_what_an_article_needs_is_rendered() -> None:
    html = to_html("## Title\n\n| a | b |\n| --- | --- |\n| **1** | [2](/help/returns/) |\n")
    assert "<h2>Title</h2>" in html
    assert "<td><strong>1</strong></td>" in html
    assert '<a href="/help/returns/" rel="noopener nofollow">2</a>' in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "![picture](https://elsewhere.example/pixel.gif)",
        "[go](javascript:alert(1))",
        "[go](JaVaScRiPt&colon;alert(1))",
        "[go](data:text/html,<script>alert(1)</script>)",
        '<a href="https://x.example" style="position:fixed" onclick="alert(1)">x</a>',
        "<iframe src=//x.example></iframe>",
    ],
)
def test_nothing_that_runs_or_loads_gets_through(text: str) -> None:
    html = to_html(text)
    for tag in ("<script", "<img", "<iframe", 'href="javascript', 'href="data', "<a style", "<a onclick"):
        assert tag not in html.lower()


def test_a_preview_is_the_words_on_one_line() -> None:
    assert to_text("**Bold** [1]\n\n- a & b\n- <i>c</i>") == "Bold [1] a & b <i>c</i>"
