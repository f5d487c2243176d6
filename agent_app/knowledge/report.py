"""The page of `manage.py evaluate --report`: plots as inline SVG, confusions, and examples. Opens without a network."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from agent_app.knowledge.calibration import Bin
from agent_app.knowledge.evaluation import MEANING, Asked, confusions, coverage_and_error, reliability_of
from agent_app.knowledge.retrieval import KnowledgeIndex, Shared

SIDE = 320  # pixels of a plot
EDGE = 44  # room for numbers and names
LARGEST = 14  # radius of the dot that holds all questions, over a smallest of 3
EXAMPLES = 25
MOST_SHARED = 20  # texts of several articles that a command names
RELIABILITY = "Reliability: the chance that was promised, and how often it came true. Larger dots are more questions."
CURVE = "Share of all questions answered, and wrong among them, for every threshold. The dot is the one in use."

IN_SEVERAL = (
    "Nothing tells which of them is to answer, so the agent asks back. Leave each text in one of its articles, "
    "or word it otherwise."
)

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #8884; }
td { vertical-align: top; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 3rem; }
figure { flex: 0 1 380px; margin: 0; }
figcaption { color: color-mix(in srgb, currentColor 75%, transparent); }
svg { display: block; width: 100%; max-width: 380px; overflow: visible; }
svg text { font-size: 11px; fill: currentColor; }
@media (max-width: 40rem) {
  th, td { padding: .25rem; font-size: .8rem; }
  td { overflow-wrap: anywhere; min-width: 6ch; }
}
"""


def page(index: KnowledgeIndex, asked: Sequence[Asked], measured: dict[str, Any]) -> str:
    curve = coverage_and_error(asked)
    shown = curve[:: max(len(curve) // 400, 1)]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Evaluation of the answers</title><style>{STYLE}</style>
<h1>Evaluation of the answers</h1>
<p>{counted(len(index.sources), "article")}, {counted(len(asked), "question")}. Answers are given from a probability of
{index.calibration.answer_at:.2f}, which the calibration of these articles found without the questions.</p>
{table(("measure", "value", "what it is"), explained(measured))}
<div class="plots">
{figure(RELIABILITY, reliability_plot(reliability_of(asked)))}
{figure(CURVE, line_plot(shown, "answered", "wrong", operating_point(asked), index.calibration.target))}
</div>
<h2>Texts of several articles</h2>
<p>{IN_SEVERAL}</p>
{table(("text", "articles"), ((each.text, slugs(each)) for each in index.shared))}
<h2>Worst confusions</h2>
{table(("right", "found instead", "times"), confusions(asked))}
<h2>Answered wrongly</h2>
{examples(one for one in asked if one.answered and not one.right)}
<h2>Known, and not answered</h2>
{examples(one for one in asked if one.right and not one.answered)}
</html>
"""


def told_of_shared(index: KnowledgeIndex) -> str:
    """For a command: what stands in several articles, and what to do about it; "" where nothing does."""
    shared = index.shared
    if not shared:
        return ""
    listed = [f"  “{each.text}”: {slugs(each)}" for each in shared[:MOST_SHARED]]
    further = [f"  and {len(shared) - MOST_SHARED} more"] if len(shared) > MOST_SHARED else []
    stands = "stands" if len(shared) == 1 else "stand"
    first = f"{counted(len(shared), 'text')} {stands} in several articles. {IN_SEVERAL}"
    return "\n".join([first, *listed, *further])


def slugs(shared: Shared) -> str:
    return ", ".join(source.slug for source in shared.sources)


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def explained(measured: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    for key, value in measured.items():
        yield key, "–" if value is None else str(value), MEANING.get(key, "")


def operating_point(asked: Sequence[Asked]) -> tuple[float, float]:
    """(share answered, wrong among them) where the threshold stands."""
    given = [one for one in asked if one.answered]
    return len(given) / max(len(asked), 1), sum(not one.right for one in given) / max(len(given), 1)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table><tr>{top}</tr>{body}</table></div>' if body else "<p>None.</p>"


def examples(asked: Iterable[Asked]) -> str:
    surest = sorted(asked, key=lambda one: -one.probability)[:EXAMPLES]
    rows = (
        (one.question.text, one.question.label or "no answer exists", one.found[0], f"{one.probability:.2f}")
        for one in surest
        if one.found
    )
    return table(("question", "right", "found", "probability"), rows)


def figure(caption: str, plot: str) -> str:
    return f"<figure>{plot}<figcaption>{escape(caption)}</figcaption></figure>"


def reliability_plot(table: Sequence[Bin]) -> str:
    dots = "".join(
        f'<circle cx="{at(row.promised):.1f}" cy="{up(row.right):.1f}" r="{3 + (LARGEST - 3) * row.share**0.5:.1f}" '
        f'fill="#3b82f6" fill-opacity=".6"><title>{row.promised:.2f} promised, {row.right:.2f} right, '
        f"{row.share:.0%} of the questions</title></circle>"
        for row in table
    )
    diagonal = f'<line x1="{at(0)}" y1="{up(0)}" x2="{at(1)}" y2="{up(1)}" stroke="#888" stroke-dasharray="4"/>'
    return svg(diagonal + dots, "promised", "right")


def line_plot(
    points: Sequence[tuple[float, float]], across: str, upwards: str, here: tuple[float, float], target: float
) -> str:
    """A curve, with the target as a dashed line and a dot where we stand."""
    path = " ".join(f"{at(x):.1f},{up(y):.1f}" for x, y in points)
    drawn = (
        f'<line x1="{at(0)}" y1="{up(target):.1f}" x2="{at(1)}" y2="{up(target):.1f}" stroke="#888" '
        f'stroke-dasharray="4"><title>target: {target:.0%} wrong</title></line>'
        f'<polyline points="{path}" fill="none" stroke="#3b82f6" stroke-width="2"/>'
        f'<circle cx="{at(here[0]):.1f}" cy="{up(here[1]):.1f}" r="5" fill="#d97706"><title>{here[0]:.0%} answered, '
        f"{here[1]:.1%} of them wrong</title></circle>"
    )
    return svg(drawn, across, upwards)


def svg(inside: str, across: str, upwards: str) -> str:
    ticks = "".join(
        f'<text x="{at(part / 4):.0f}" y="{up(0) + 14:.0f}" text-anchor="middle">{part / 4:g}</text>'
        f'<text x="{at(0) - 5:.0f}" y="{up(part / 4) + 4:.0f}" text-anchor="end">{part / 4:g}</text>'
        for part in range(5)
    )
    frame = (
        f'<rect x="{at(0)}" y="{up(1)}" width="{at(1) - at(0)}" height="{up(0) - up(1)}" fill="none" stroke="#888"/>'
    )
    names = (
        f'<text x="{SIDE / 2}" y="{SIDE - 4}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="10" y="{SIDE / 2}" text-anchor="middle" transform="rotate(-90 10 {SIDE / 2})">'
        f"{escape(upwards)}</text>"
    )
    said = escape(f"{upwards}, by {across}")
    return f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{said}">{frame}{ticks}{names}{inside}</svg>'


def at(value: float) -> float:
    return EDGE + value * (SIDE - EDGE - 8)


def up(value: float) -> float:
    return SIDE - EDGE - value * (SIDE - EDGE - 8)
