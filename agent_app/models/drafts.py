"""Of whose questions a draft was made: what an erasure goes by where an editor has called the draft by the question."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.crypto import salted_hmac
from django.utils.text import slugify

from agent_app.models.audit import RETENTION
from agent_app.models.conversations import Conversation
from agent_app.models.knowledge import Article, ExampleQuestion

ERASED = "(erased)"
TITLE, STEM = 200, 100  # characters
NUMBERED = re.compile(r"-\d+$")  # as a slug is that another article has


class DraftSourceQuerySet(models.QuerySet["DraftSource"]):
    def of_chats(self, session_ids: Sequence[str]) -> Self:
        return self.filter(conversation__session_id__in=session_ids)

    def of_user(self, user_id: str) -> Self:
        return self.filter(customer__in=ExampleQuestion.digests_of(user_id))

    def exported(self) -> Iterable[dict[str, Any]]:
        """Nothing: a digest says nothing to a customer, and the question is in the export as such."""
        return self.none().values("id")

    def still_named(self) -> Iterator[tuple[Article, bool, bool]]:
        """The drafts that are called by these questions to the letter, each once: whether by title, and by address.
        What is published is the company's.
        """
        sources: dict[Article, list[DraftSource]] = {}
        for source in self.filter(article__published=False).select_related("article"):
            sources.setdefault(source.article, []).append(source)
        for article, its in sources.items():
            titles, stems = titles_of(article), stems_of(article)
            title = any(source.title in titles for source in its)
            slug = any(source.slug in stems for source in its)
            if title or slug:
                yield article, title, slug

    def rename(self) -> int:
        """Gives those drafts other names; how many."""
        renamed = 0
        for draft, title, slug in self.still_named():
            draft.title = ERASED if title else draft.title
            draft.slug = f"erased-{draft.pk}" if slug else draft.slug
            draft.save(update_fields=["title", "slug", "updated_at"])
            renamed += 1
        return renamed

    def erase(self, receipt: str) -> int:
        return 0 if receipt == RETENTION else self.delete()[0]


class DraftSource(models.Model):
    """One question of a customer that a draft was made of. It outlives the question: an editor may take that out of the
    draft, and retention deletes the chat. So it keeps digests under SECRET_KEY, of the customer's id and of the words
    as a title and as an address, and no words.
    """

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="made_of", editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.SET_NULL, null=True, related_name="drafted", editable=False
    )
    customer = models.CharField(max_length=64, blank=True, default="", editable=False, help_text="a digest")
    title = models.CharField(max_length=64, editable=False, help_text="a digest")
    slug = models.CharField(max_length=64, blank=True, editable=False, help_text="a digest")

    objects = DraftSourceQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        default_permissions = ()
        verbose_name = "question behind a draft"
        verbose_name_plural = "questions behind drafts"
        indexes = [models.Index(fields=["customer"], name="draft_of_customer", condition=~Q(customer=""))]

    def __str__(self) -> str:
        return f"question behind a draft {self.pk}"

    @classmethod
    def of_question(cls, article: Article, text: str, asked_in: Conversation | None) -> Self:
        """Unsaved."""
        return cls(
            article=article,
            conversation=asked_in,
            customer=ExampleQuestion.digest_of(asked_in.user_id if asked_in else None),
            title=digest_of(as_title(text)),
            slug=digest_of(as_stem(slugify(text.strip()[:TITLE]))),
        )


def as_title(text: str) -> str:
    """Without what an editor changes in passing: capitals, spaces, the question mark."""
    return " ".join(re.findall(r"\w+", text.strip()[:TITLE].casefold()))


def as_stem(slug: str) -> str:
    return slug[:STEM].strip("-")


def titles_of(article: Article) -> set[str]:
    return digests_of({as_title(article.title)})


def stems_of(article: Article) -> set[str]:
    return digests_of({as_stem(article.slug), as_stem(NUMBERED.sub("", article.slug))})


def digests_of(words: set[str]) -> set[str]:
    """Under the site's key, and under those that it had before."""
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return {digest_of(each, key) for key in keys for each in words if each}


def digest_of(words: str, key: str | bytes | None = None) -> str:
    if not words:
        return ""
    return salted_hmac("agent_app.drafted", words, secret=key, algorithm="sha256").hexdigest()
