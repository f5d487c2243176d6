"""How good and how fast the offline answers are.

    python benchmarks/answers.py quality --data FOLDER [--sizes 5 10 all]  against BM25, TF-IDF + LR, nearest example
    python benchmarks/answers.py speed [--articles 1000 10000]  latency, event loop, indexing, memory

`quality` reads FOLDER/{banking77,clinc150,bitext_cs}/train.jsonl (lines of {"text", "label"}), which are not part of
this project, and keeps a part of each aside to ask. `speed` makes its articles itself: benchmarks/answers_speed.py. The
peers need scikit-learn and bm25s, which only this file uses: pip install scikit-learn bm25s.
"""

import argparse
import os
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")

import numpy as np  # noqa: E402 - the path comes first

from agent_app.knowledge.embedding import Vectors, load_embedder  # noqa: E402
from agent_app.knowledge.evaluation import Question, ask, auroc, measure, read_questions, sources_of  # noqa: E402
from agent_app.knowledge.retrieval import KnowledgeIndex  # noqa: E402
from benchmarks.answers_speed import speed  # noqa: E402

ASIDE = 0.15
MOST_ASKED = 1000  # of each set: the whole table takes minutes
SIZES = ("5", "10", "all")  # examples a label
# Casanueva et al. 2020 (arXiv:2003.04807), table 2: accuracy on Banking77's own test part.
PUBLISHED = {
    ("banking77", "10"): ("USE+ConveRT, published", 85.19),
    ("banking77", "all"): ("USE+ConveRT, published", 93.36),
}

# ---- quality ----


class Vectorised:
    """Every text embedded once, however many systems ask for it."""

    def __init__(self) -> None:
        self.embedder = load_embedder("minilm")
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.embedder.embed(new), strict=True))
        return np.stack([self.known[text] for text in texts])


def quality(data: Path, sizes: Sequence[str]) -> None:
    embed = Vectorised()
    print(f"{'set':10} {'examples':>8}  {'system':32} {'top-1':>6} {'oos AUROC':>9}  answered  wrong   ECE")
    for name, size, examples, questions in cases(data, sizes):
        for system, accuracy, uncovered, rest in systems(name, size, examples, questions, embed):
            print(f"{name:10} {size:>8}  {system:32} {accuracy:6.2f} {uncovered:>9}  {rest}", flush=True)


def cases(data: Path, sizes: Sequence[str]) -> Iterator[tuple[str, str, list[Question], list[Question]]]:
    for name in ("banking77", "clinc150", "bitext_cs"):
        rows = read_questions(data / name / "train.jsonl")
        random.Random(7).shuffle(rows)
        aside = int(len(rows) * ASIDE)
        questions, examples = rows[: min(aside, MOST_ASKED)], rows[aside:]
        outside = data / name / "oos_val.jsonl"
        if outside.exists():
            questions = questions + read_questions(outside)
        for size in sizes:
            yield name, size, examples if size == "all" else few(examples, int(size)), questions
        if name == "banking77" and "all" in sizes:
            labels = sorted({row.label for row in rows if row.label})
            gone = set(random.Random(7).sample(labels, len(labels) // 3))
            kept = [row for row in examples if row.label not in gone]
            near = [Question(q.text, None if q.label in gone else q.label) for q in questions]
            yield "near miss", "all", kept, near


def few(rows: Sequence[Question], most: int) -> list[Question]:
    taken: dict[str | None, int] = {}
    chosen = []
    for row in rows:
        if taken.get(row.label, 0) < most:
            taken[row.label] = taken.get(row.label, 0) + 1
            chosen.append(row)
    return chosen


def systems(
    name: str, size: str, examples: list[Question], questions: list[Question], embed: Vectorised
) -> Iterator[tuple[str, float, str, str]]:
    index = KnowledgeIndex.build(sources_of(examples), embed)
    measured = measure(ask(index, questions, embed))
    rest = f"{measured['answered']:8.3f} {measured['wrong_among_answered']:6.3f} {measured['ece']:5.3f}"
    yield "this project", measured["accuracy"] * 100, shown(measured["oos_auroc"]), rest
    labels = sorted({example.label for example in examples if example.label})
    for system, scores in peers(examples, questions, labels, embed):
        best = scores.max(axis=1)
        found = scores.argmax(axis=1)
        inside = [i for i, question in enumerate(questions) if question.label is not None]
        outside = [i for i, question in enumerate(questions) if question.label is None]
        right = [labels[found[i]] == questions[i].label for i in inside]
        yield system, 100 * statistics.fmean(right), shown(auroc(best[inside].tolist(), best[outside].tolist())), ""
    if (name, size) in PUBLISHED:
        system, accuracy = PUBLISHED[name, size]
        yield system, accuracy, "", "(on the set's own test part)"


def shown(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def peers(
    examples: list[Question], questions: list[Question], labels: list[str], embed: Vectorised
) -> Iterator[tuple[str, np.ndarray]]:
    import bm25s
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, asked = [example.text for example in examples], [question.text for question in questions]
    number = {label: n for n, label in enumerate(labels)}
    of = np.array([number[example.label or ""] for example in examples])

    def best_of_each(scores: np.ndarray) -> np.ndarray:
        return np.stack([scores[:, of == label].max(axis=1) for label in range(len(labels))], axis=1)

    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(asked, show_progress=False, return_ids=False)
    yield "BM25 (bm25s), best example", best_of_each(np.stack([retriever.get_scores(token) for token in tokens]))

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=30, max_iter=100).fit(vectorizer.fit_transform(texts), of)
    yield "TF-IDF + logistic regression", model.predict_proba(vectorizer.transform(asked))

    vectors, wanted = embed(texts), embed(asked)
    yield "MiniLM, nearest example", best_of_each(wanted @ vectors.T)
    yield "MiniLM, logistic regression", LogisticRegression(C=30, max_iter=100).fit(vectors, of).predict_proba(wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "speed"))
    parser.add_argument("--data", type=Path, help="the folder of labelled questions")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="examples a label")
    parser.add_argument("--articles", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--questions", type=int, default=300)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.articles, options.questions)
    elif options.data is None:
        parser.error("quality needs --data FOLDER")
    else:
        quality(options.data, options.sizes)


if __name__ == "__main__":
    main()
