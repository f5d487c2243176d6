"""How good and how fast the offline answers are.

    python benchmarks/answers.py quality --data FOLDER [--sets banking77] [--sizes 5 10 all] [--splits 4] [--alone]
                                         [--twins 2] [--shared 3]
    python benchmarks/answers.py speed [--articles 1000 10000]  latency, event loop, indexing, memory

`quality` reads FOLDER/{banking77,clinc150,bitext_cs}/train.jsonl (lines of {"text", "label"}), which are not part of
this project, and keeps a part of each aside to ask: against BM25, TF-IDF + LR, the nearest example, or `--alone`. One
split by itself is off by 0.8 points of top-1 either way: `--splits` gives the mean of several, and its standard error.
"Per label" is top-1 with each label counted alike, as in Banking77's own test part, which has as many of each; it takes
more questions to say (`--asked 4000`). The near misses are Banking77 with a third of its labels gone. `--twins 2` gives
each example two more that are hardly another ("…, please?", "Hi, …"), as articles hold them that were filled by hand,
and `--shared 3` puts three of each label's examples into the next label's article as well.
`speed` makes its articles itself: benchmarks/answers_speed.py. The peers need scikit-learn and bm25s, which only this
file uses: pip install scikit-learn bm25s.
"""

import argparse
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
SETS = ("banking77", "clinc150", "bitext_cs")
FIRST_SPLIT = 7  # the seed; the next split's is one more
SIZES = ("5", "10", "all")  # examples a label
HARDLY_ANOTHER: Sequence[Callable[[str], str]] = (
    lambda text: f"{text.rstrip(' ?!.')}, please?",
    lambda text: f"Hi, {text}",
    str.upper,
    lambda text: f"{text} Thanks!",
    lambda text: f"Can you tell me: {text}",
)
# Casanueva et al. 2020 (arXiv:2003.04807), table 2: accuracy on Banking77's own test part.
PUBLISHED = {
    ("banking77", "10"): ("USE+ConveRT, published", 85.19),
    ("banking77", "all"): ("USE+ConveRT, published", 93.36),
}

# ---- quality ----


@dataclass(frozen=True)
class More:
    """What stands in the articles beside their examples."""

    twins: int = 0  # of each example
    shared: int = 0  # of each label's examples

    def told(self, size: str) -> str:
        return size + f" ×{1 + self.twins}" * bool(self.twins) + f" +{self.shared}" * bool(self.shared)

    def of(self, examples: Sequence[Question]) -> list[Question]:
        labels = sorted({example.label for example in examples if example.label})
        following = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
        shared = [Question(one.text, following[one.label]) for one in few(examples, self.shared) if one.label]
        return [*(twin for place, one in enumerate(examples) for twin in self.twins_of(place, one)), *shared]

    def twins_of(self, place: int, one: Question) -> Iterator[Question]:
        yield one
        for number in range(place, place + self.twins):
            yield Question(HARDLY_ANOTHER[number % len(HARDLY_ANOTHER)](one.text), one.label)


class Vectorised:
    """Every text embedded once, however many systems ask for it."""

    def __init__(self) -> None:
        self.embedder = load_embedder("minilm")
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.embedder.embed(new), strict=True))
        return np.stack([self.known[text] for text in texts])


def quality(
    data: Path, sets: Sequence[str], sizes: Sequence[str], asked: int, splits: int, alone: bool, more: More
) -> None:
    embed = Vectorised()
    print(f"{'set':10} {'examples':>8}  {'system':32} {'top-1':>6} {'±':>4} {'per label':>9} {'±':>4}", end=" ")
    print(f"{'oos AUROC':>9}  answered  wrong   ECE")
    made = (cases(data, sets, sizes, asked, FIRST_SPLIT + number, more) for number in range(splits))
    for split in zip(*made, strict=True):
        name, size = split[0][:2]
        measured = [list(systems(*case[2:], embed, alone)) for case in split]
        for rows in zip(*measured, strict=True):
            print(f"{name:10} {size:>8}  {rows[0][0]:32} {averaged([row[1] for row in rows])}", flush=True)
        if (name, size) in PUBLISHED:
            system, accuracy = PUBLISHED[name, size]
            print(f"{name:10} {size:>8}  {system:32} {accuracy:6.2f}  (on the set's own test part)")


def averaged(splits: Sequence[Sequence[float]]) -> str:
    """Each number's mean over the splits, and the standard errors of top-1; nothing where there is no number (nan)."""
    accuracy, per_label, uncovered, answered, wrong, ece = np.mean(splits, axis=0)
    count = len(splits)
    errors = np.std(splits, axis=0, ddof=1) / count**0.5 if count > 1 else np.full(len(splits[0]), np.nan)
    line = f"{accuracy:6.2f} {errors[0]:4.2f} {per_label:9.2f} {errors[1]:4.2f}"
    return f"{line} {uncovered:9.1f} {answered:9.3f} {wrong:6.3f} {ece:5.3f}".replace("nan", "  –")


def cases(
    data: Path, sets: Sequence[str], sizes: Sequence[str], asked: int, seed: int, more: More
) -> Iterator[tuple[str, str, list[Question], list[Question]]]:
    for name in sets:
        rows = read_questions(data / name / "train.jsonl")
        random.Random(seed).shuffle(rows)
        aside = int(len(rows) * ASIDE)
        if asked > MOST_ASKED:
            aside = max(aside, min(asked, len(rows) // 2))
        questions, examples = rows[: min(aside, asked)], rows[aside:]
        outside = data / name / "oos_val.jsonl"
        if outside.exists():
            questions = questions + read_questions(outside)
        for size in sizes:
            yield name, more.told(size), more.of(of_size(examples, size)), questions
        if name == "banking77":
            labels = sorted({row.label for row in rows if row.label})
            gone = set(random.Random(seed).sample(labels, len(labels) // 3))
            kept = [row for row in examples if row.label not in gone]
            near = [Question(q.text, None if q.label in gone else q.label) for q in questions]
            for size in sizes:
                yield "near miss", more.told(size), more.of(of_size(kept, size)), near


def of_size(examples: Sequence[Question], size: str) -> list[Question]:
    return list(examples) if size == "all" else few(examples, int(size))


def few(rows: Sequence[Question], most: int) -> list[Question]:
    taken: dict[str | None, int] = {}
    chosen = []
    for row in rows:
        if taken.get(row.label, 0) < most:
            taken[row.label] = taken.get(row.label, 0) + 1
            chosen.append(row)
    return chosen


def systems(
    examples: list[Question], questions: list[Question], embed: Vectorised, alone: bool
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Each one's name and numbers: top-1, the same per label, oos AUROC, answered, wrong among answered, ECE."""
    index = KnowledgeIndex.build(sources_of(examples), embed)
    asked = ask(index, questions, embed)
    measured = measure(asked)
    alike = per_label([(one.question.label, one.right) for one in asked if one.question.label is not None])
    per_cent = 100 * measured["accuracy"], alike, in_per_cent(measured["oos_auroc"])
    wrong = measured["wrong_among_answered"]  # None where nothing is answered
    yield "this project", (*per_cent, measured["answered"], np.nan if wrong is None else wrong, measured["ece"])
    if alone:
        return
    labels = sorted({example.label for example in examples if example.label})
    for system, scores in peers(examples, questions, labels, embed):
        best = scores.max(axis=1)
        found = scores.argmax(axis=1)
        inside = [i for i, question in enumerate(questions) if question.label is not None]
        outside = [i for i, question in enumerate(questions) if question.label is None]
        right = [labels[found[i]] == questions[i].label for i in inside]
        told = in_per_cent(auroc(best[inside].tolist(), best[outside].tolist()))
        alike = per_label([(questions[i].label, hit) for i, hit in zip(inside, right, strict=True)])
        yield system, (100 * statistics.fmean(right), alike, told, np.nan, np.nan, np.nan)


def per_label(found: Sequence[tuple[str | None, bool]]) -> float:
    """Per cent right, each label counted alike."""
    of_each: dict[str | None, list[bool]] = {}
    for label, right in found:
        of_each.setdefault(label, []).append(right)
    return 100 * statistics.fmean(statistics.fmean(rights) for rights in of_each.values())


def in_per_cent(value: float | None) -> float:
    return np.nan if value is None else 100 * value


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
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="examples a label")
    parser.add_argument("--asked", type=int, default=MOST_ASKED, help="questions of each set, at most half of it")
    parser.add_argument("--splits", type=int, default=1, help="how many times another part is kept aside")
    parser.add_argument("--twins", type=int, default=0, help="more examples of each that are hardly another, at most 5")
    parser.add_argument("--shared", type=int, default=0, help="examples a label that another article holds, too")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--articles", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--questions", type=int, default=300)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.articles, options.questions)
    elif options.data is None:
        parser.error("quality needs --data FOLDER")
    else:
        more = More(options.twins, options.shared)
        quality(options.data, options.sets, options.sizes, options.asked, options.splits, options.alone, more)


if __name__ == "__main__":
    main()
