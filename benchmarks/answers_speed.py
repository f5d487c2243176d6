"""How fast the offline answers are, each figure beside its bar: `python benchmarks/answers.py speed`.

Each number of articles has a process and a database of its own. Up to 1,000 articles the model reads every text; above,
the articles' vectors are made up, since a question costs the same whatever they say.
"""

import asyncio
import gc
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvloop

from agent_app.knowledge.calibration import Calibration
from agent_app.knowledge.embedding import load_embedder
from agent_app.knowledge.evaluation import read_questions
from agent_app.knowledge.passages import Source, parse
from agent_app.knowledge.retrieval import units_of
from agent_app.knowledge.spelling import common_words

if TYPE_CHECKING:  # it needs Django, which is set up with a database of its own
    from agent_app.knowledge.indexing import Knowledge

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "agent_app" / "knowledge" / "sample"
QUESTIONS = ROOT / "tests" / "agent_app" / "questions"

EMBEDDED = 1000  # articles whose texts the model really reads
P95 = {1000: 25.0, 10_000: 45.0}  # milliseconds, on one core
MOST_LAG = 10.0  # milliseconds over an idle loop's
INDEXED = 90.0  # seconds, 1,000 articles on two cores
SEARCHABLE = 2.0  # seconds until every instance finds what changed
MOST_MEMORY = 200.0  # megabytes over the process without the model
BETWEEN = 0.02  # seconds between two questions to the old index while a new one is made


def speed(counts: Sequence[int], questions: int) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            environ = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/speed.sqlite3", "LOG_LEVEL": "ERROR"}
            for step in ("questions", "memory"):
                command = [sys.executable, __file__, step, str(count), str(questions)]
                subprocess.run(command, cwd=ROOT, env={**environ, "PYTHONPATH": str(ROOT)}, check=True)


def told(what: str, value: float, unit: str, bar: float | None = None) -> None:
    verdict = "" if bar is None else f"bar {bar:g}  {'OK' if value <= bar else 'SHORT'}"
    print(f"{what:58}{value:8.1f} {unit:2}  {verdict}".rstrip(), flush=True)


async def time_questions(count: int, questions: int) -> None:
    from asgiref.sync import sync_to_async
    from django.core.management import call_command

    from agent_app.knowledge.indexing import Knowledge, knowledge

    print(f"{count} articles", flush=True)
    await sync_to_async(call_command)("migrate", verbosity=0)
    sources = list(made_articles(count))
    first = sources[: count // 20]
    if count > EMBEDDED:
        await sync_to_async(make_up_vectors)(first)
    await sync_to_async(store)(first)
    other = Knowledge()  # another instance
    await knowledge.start()
    await other.start()
    await until(lambda: len(other.current().sources) == len(first))
    if count > EMBEDDED:
        for instance in (knowledge, other):  # a build ends with forgetting the vectors of texts that no article holds
            await sync_to_async(instance.renew)()
        await sync_to_async(make_up_vectors)(sources[len(first) :])
    asked = [each.text for name in ("first_ten", "natural") for each in read_questions(QUESTIONS / f"{name}.jsonl")]
    # Each with another word: a question that was asked before has its vector.
    new = [f"{asked[number % len(asked)]} {noun}" for number, noun in zip(range(questions), nouns(), strict=False)]

    await sync_to_async(store)(sources[len(first) :])
    began = time.perf_counter()
    indexed = asyncio.ensure_future(until(lambda: len(other.current().sources) == count))
    meanwhile: list[float] = []
    lag = await longest_lag(ask_while(other.search, asked, meanwhile, lambda: not indexed.done()))
    bar = INDEXED if count == EMBEDDED else None
    told("indexed, loaded by another instance", time.perf_counter() - began, "s", bar)
    told(f"the old index meanwhile, {len(meanwhile)} questions: p95", percentile(meanwhile), "ms")
    told("event loop's longest lag meanwhile", lag, "ms")
    await caught_up(knowledge, other)

    settle()
    on_cores(1)
    times: list[float] = []
    busy = await longest_lag(ask_while(other.search, new, times))
    idle = await longest_lag(asyncio.sleep(sum(times) / 1000))
    told(f"one question, one core, {len(times)} asked: p50", percentile(times, 50), "ms")
    told("one question, one core: p95", percentile(times), "ms", P95.get(count))
    told(f"event loop's longest lag over an idle loop's {idle:.1f}", max(busy - idle, 0.0), "ms", MOST_LAG)
    on_cores(None)

    took = await change(knowledge.search, other.search)
    told("a changed article: found by both instances after", took, "s", SEARCHABLE if count <= EMBEDDED else None)
    lag = await longest_lag(caught_up(knowledge, other))
    told("event loop's longest lag until head and calibration follow", lag, "ms")
    await other.stop()
    await knowledge.stop()


async def change(*searches: Callable[[str], Awaitable]) -> float:
    from asgiref.sync import sync_to_async

    from agent_app.models import Article

    async def found(search: Callable) -> None:
        while (await search("do you sell quokka lamps")).hits[0].source.slug != "new":  # noqa: ASYNC110 - as a customer
            await asyncio.sleep(0.05)

    began = time.perf_counter()
    await sync_to_async(Article.objects.create)(slug="new", title="Quokka lamps", body="We sell quokka lamps in Cork.")
    await asyncio.gather(*map(found, searches))
    return time.perf_counter() - began


async def weigh(count: int) -> None:
    """What the process holds with model and index, over what it held before either."""
    before = memory()
    from agent_app.knowledge.indexing import knowledge

    load_embedder("minilm").embed(["warm"])
    model = memory()
    await knowledge.start()
    for text in ("where is my order", "how do I return something"):
        await knowledge.search(text)
    index = knowledge.current()
    assert len(index.sources) == count + 1
    both = memory()
    bar = MOST_MEMORY if count <= EMBEDDED else None
    told(f"memory over the {before:.0f} MB before: model {model - before:.0f} and index", both - before, "MB", bar)
    await knowledge.stop()


# ---- what is asked, and of what ----


def made_articles(count: int) -> Iterator[Source]:
    """The sample shop over and over, each time about another thing."""
    sample = [parse(file.read_text(), file.stem) for file in sorted(SAMPLE.glob("*.md"))]
    for number, noun in zip(range(count), nouns(), strict=False):
        base = sample[number % len(sample)]
        body = "\n".join(f"{line} ({noun})" if line.startswith("## ") else line for line in base.body.splitlines())
        questions = tuple(f"{question} {noun}" for question in base.questions[:3])
        yield Source(f"{base.slug}-{number}", f"{base.title}: {noun}"[:200], f"{noun}: {body}", "en", questions)


def nouns() -> list[str]:
    return sorted(word for word in common_words() if len(word) > 4)


def store(sources: Sequence[Source]) -> None:
    from django.db import transaction

    from agent_app.models import Article, ExampleQuestion, KnowledgeState

    with transaction.atomic():
        articles = Article.objects.bulk_create(
            [Article(slug=s.slug, title=s.title, body=s.body) for s in sources], batch_size=200
        )
        ExampleQuestion.objects.bulk_create(
            [ExampleQuestion(article=a, text=q) for a, s in zip(articles, sources, strict=True) for q in s.questions],
            batch_size=200,
        )
        KnowledgeState.changed()


def make_up_vectors(sources: Sequence[Source]) -> None:
    """Directions at random for every text, where a build looks for what was embedded before."""
    from agent_app.models.knowledge import TextVector

    embedder = load_embedder("minilm")
    texts = {unit.text for number, source in enumerate(sources) for unit in units_of(number, source)}
    vectors = np.random.default_rng(0).standard_normal((len(texts), embedder.size)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = (
        TextVector(embedder=embedder.name, digest=hashlib.sha256(text.encode()).hexdigest(), vector=vector.tobytes())
        for text, vector in zip(sorted(texts), vectors.astype(np.float16), strict=True)
    )
    TextVector.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)


async def ask_while(
    search: Callable[[str], Awaitable],
    asked: Sequence[str],
    times: list[float],
    going_on: Callable[[], bool] | None = None,
) -> None:
    """Every question once, one after the other; with `going_on` as often as that says so, with pauses."""
    number = 0
    while number < len(asked) if going_on is None else going_on():
        began = time.perf_counter()
        await search(asked[number % len(asked)])
        times.append((time.perf_counter() - began) * 1000)
        number += 1
        if going_on is not None:
            await asyncio.sleep(BETWEEN)


# ---- measuring ----


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - as an instance looks
        await asyncio.sleep(0.05)


async def caught_up(*instances: "Knowledge") -> None:
    """Until each instance holds the whole index of the newest knowledge, not the first one made at once."""
    from asgiref.sync import sync_to_async

    while not await sync_to_async(newest_everywhere)(instances):  # noqa: ASYNC110 - as an instance looks
        await asyncio.sleep(0.25)


def newest_everywhere(instances: Sequence["Knowledge"]) -> bool:
    from agent_app.models.knowledge import IndexGeneration, KnowledgeState

    newest = IndexGeneration.objects.newest(load_embedder("minilm").name)
    if newest is None or newest.revision < KnowledgeState.current_revision():
        return False
    calibration = Calibration.from_json(newest.calibration)
    return all(instance.current().calibration == calibration for instance in instances)


async def longest_lag(work: Awaitable) -> float:
    """How late, at most, in milliseconds, a task that sleeps a millisecond at a time was woken while `work` ran."""
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - began - 0.001)
    await task
    return longest * 1000


def percentile(times: Sequence[float], which: float = 95) -> float:
    return float(np.percentile(times, which)) if times else 0.0


def settle() -> None:
    """As supportdesk.server does once the process has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def on_cores(most: int | None) -> None:
    """Every thread of this process on the first few of its cores, or on all."""
    cores = sorted(ALL_CORES)[:most]
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


ALL_CORES = os.sched_getaffinity(0)


def memory() -> float:
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main(step: str, count: int, questions: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")
    django.setup()
    work = time_questions(count, questions) if step == "questions" else weigh(count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
