"""What the knowledge is missing: questions that nothing answered, and answers that did not help."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agent_app.models.conversations import Conversation, Message
from agent_app.models.drafts import DraftSource
from agent_app.models.feedback import Feedback
from agent_app.models.knowledge import Article, UnansweredQuestion


@dataclass(frozen=True, slots=True)
class Missed:
    """One question of a customer who was not helped. `key` names it in a form: u or f, and the row's id."""

    key: str
    text: str
    asked_at: datetime
    conversation: Conversation | None
    answered_with: tuple[str, ...] = ()  # titles of what the answer cited; none when nothing was answered
    reason: str = ""  # what the customer says was wrong
    unhelpful: bool = False


def missed_questions(most: int) -> list[Missed]:
    """The newest of both kinds, `most` of each at the most; in a bounded number of queries."""
    return [
        *unanswered_questions(UnansweredQuestion.objects.unresolved()[:most]),
        *unhelpful_answers(Feedback.objects.unhelpful()[:most]),
    ]


def missed_named(keys: Sequence[str]) -> list[Missed]:
    """Those of these keys that are still on the list, in the order of the keys."""
    found = [
        *unanswered_questions(UnansweredQuestion.objects.unresolved().filter(pk__in=ids(keys, "u"))),
        *unhelpful_answers(Feedback.objects.unhelpful().filter(pk__in=ids(keys, "f"))),
    ]
    return sorted(found, key=lambda each: keys.index(each.key))


def unanswered_questions(rows: QuerySet[UnansweredQuestion]) -> list[Missed]:
    return [
        Missed(f"u{row.pk}", row.text, row.asked_at, row.conversation) for row in rows.select_related("conversation")
    ]


def unhelpful_answers(rows: QuerySet[Feedback]) -> list[Missed]:
    judged = list(rows.select_related("conversation"))
    answers = messages_at((row.conversation_id, row.seq) for row in judged)
    asked = messages_at((chat, answer.reply_to) for (chat, _), answer in answers.items())
    found = []
    for row in judged:
        answer = answers.get((row.conversation_id, row.seq))
        question = asked.get((row.conversation_id, answer.reply_to)) if answer else None
        if answer is not None and question is not None and question.text.strip():
            titles = tuple(str(citation["title"]) for citation in answer.citations)
            found.append(
                Missed(f"f{row.pk}", question.text, row.said_at, row.conversation, titles, row.comment, unhelpful=True)
            )
    return found


def messages_at(places: Iterable[tuple[int, int | None]]) -> dict[tuple[int, int | None], Message]:
    wanted = {place for place in places if place[1]}
    if not wanted:
        return {}
    either = Q()
    for chat, seq in wanted:
        either |= Q(conversation_id=chat, seq=seq)
    return {(message.conversation_id, message.seq): message for message in Message.objects.filter(either)}


def resolve(keys: Sequence[str], article: Article | None = None) -> int:
    """Takes these off the list; `article` is the one that answers them now. How many were still on it."""
    now = timezone.now()
    questions, judged = ids(keys, "u"), ids(keys, "f")
    with transaction.atomic():
        done = UnansweredQuestion.objects.unresolved().filter(pk__in=questions).update(resolved_at=now, article=article)
        return done + Feedback.objects.unhelpful().filter(pk__in=judged).update(resolved_at=now)


def teach(article: Article, missed: Sequence[Missed]) -> int:
    """Adds these phrasings to the article and takes the questions off the list. How many phrasings were new to it."""
    with transaction.atomic():
        added = sum(article.learn(each.text, each.conversation) for each in missed)
        resolve([each.key for each in missed], article)
    return added


def draft(missed: Sequence[Missed]) -> Article:
    """A new article that is not published yet, with these as its example questions."""
    with transaction.atomic():
        article = Article.objects.begin()
        DraftSource.objects.bulk_create(
            DraftSource.of_question(article, each.text, each.conversation) for each in missed
        )
        teach(article, missed)
    return article


def ids(keys: Iterable[str], kind: str) -> list[int]:
    return [int(key[1:]) for key in keys if key[:1] == kind and key[1:].isdigit()]
