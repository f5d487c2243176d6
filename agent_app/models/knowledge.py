"""What the company knows: articles with example questions, the generations of their index, and what was missing."""

import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.text import slugify

from agent_app.models.audit import RETENTION
from agent_app.models.conversations import Conversation
from agent_app.models.phrasings import in_other_words

BUILD_LEASE = timedelta(minutes=5)  # a builder that takes longer has died, and another may begin
DRAFT_BODY = "(Write the answer here.)"
DRAFT_TITLE = re.compile(r"Draft \d+")
DRAFT_SLUG = re.compile(r"draft-[0-9a-f]{12}")
PHRASING = 500  # characters of an example question


class ArticleQuerySet(models.QuerySet["Article"]):
    def published(self) -> Self:
        return self.filter(published=True)

    def from_folder(self) -> Self:
        return self.filter(from_folder=True)

    def with_questions(self) -> Self:
        return self.prefetch_related("questions")

    def matching(self, words: str) -> Self:
        return self.filter(Q(title__icontains=words) | Q(body__icontains=words) | Q(slug__icontains=words))

    def begin(self) -> "Article":
        """A draft that an editor has yet to name: nothing of what a customer asked gets into its title or address."""
        slug = f"draft-{secrets.token_hex(6)}"
        with transaction.atomic():
            draft = self.create(slug=slug, title="Draft", body=DRAFT_BODY, published=False)
            draft.title = f"Draft {draft.pk}"
            draft.save(update_fields=["title"])
        return draft

    def free_slug(self, title: str) -> str:
        """Made from the title, with a number behind it where another article has it."""
        stem = slugify(title)[:100].strip("-") or "article"
        taken = set(self.filter(slug__startswith=stem).values_list("slug", flat=True))
        numbered = (f"{stem}-{number}" for number in count(2))
        return next(slug for slug in chain([stem], numbered) if slug not in taken)

    def update(self, **values: Any) -> int:
        with transaction.atomic():
            changed = super().update(**values)
            KnowledgeState.changed()
        return changed


class Article(models.Model):
    """One help article. Saving or deleting it marks the index as out of date, in the same transaction."""

    slug = models.SlugField(
        max_length=120, unique=True, help_text="its address; a draft's is made of the title when it is published"
    )
    title = models.CharField(max_length=200)
    body = models.TextField(help_text="Markdown", validators=[MinLengthValidator(1)])
    language = models.CharField(max_length=16, default="en")
    published = models.BooleanField(default=True)
    from_folder = models.BooleanField(default=False, editable=False, help_text="loaded from a folder, and goes with it")
    imported_from = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_default="",  # an instance of the version before writes articles while this one starts
        editable=False,
        help_text="the name of the file that import_knowledge made it of",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ArticleQuerySet.as_manager()

    class Meta:
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            if self.published and DRAFT_SLUG.fullmatch(self.slug):
                self.slug = Article.objects.free_slug(self.title)
            super().save(*args, **kwargs)
            KnowledgeState.changed()

    def get_absolute_url(self) -> str:
        try:
            return reverse("help", args=[self.slug])
        except NoReverseMatch:
            return f"/help/{self.slug}/"

    def clean(self) -> None:
        if self.published and DRAFT_TITLE.fullmatch(self.title):
            raise ValidationError({"title": "Give it a title before it is published."})
        if self.published and self.body.strip() == DRAFT_BODY:
            raise ValidationError({"body": "Write the answer before it is published."})

    def question_texts(self) -> list[str]:
        return [question.text for question in self.questions.all()]

    def with_learned(self, texts: Iterable[str]) -> list[str]:
        """These, and behind them what the article has learned of customers, which no file knows that it is made of."""
        learned = [each.text for each in self.questions.all() if each.is_a_customers] if self.pk else []
        return list(dict.fromkeys([*texts, *learned]))

    def set_questions(self, texts: list[str]) -> bool:
        """Makes these the article's example questions, in this order. True if anything changed.

        What was a customer's stays theirs, also where it was put in other words.
        """
        before = list(self.questions.all())
        wanted = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
        if wanted == [question.text for question in before]:
            return False
        known = {question.text: question for question in before}
        removed = [question for question in before if question.text not in wanted]
        made_of = in_other_words(
            [question.text for question in removed],
            {question.text for question in removed if question.is_a_customers},
            [text for text in wanted if text not in known],
        )
        with transaction.atomic():
            self.questions.all().delete()
            ExampleQuestion.objects.bulk_create(
                ExampleQuestion(article=self, text=text).as_asked_like(known.get(made_of.get(text, text)))
                for text in wanted
            )
            KnowledgeState.changed()
        return True

    def learn(self, phrasing: str, asked_in: Conversation | None = None) -> bool:
        """Adds one phrasing to the example questions, with whose it is. False if the article has it already."""
        new = {"conversation": asked_in, "customer": ExampleQuestion.digest_of(asked_in.user_id if asked_in else None)}
        _, added = self.questions.get_or_create(text=phrasing[:PHRASING].strip(), defaults=new)
        return added


class ExampleQuestionQuerySet(models.QuerySet["ExampleQuestion"]):
    def of_chats(self, session_ids: Sequence[str]) -> Self:
        return self.filter(conversation__session_id__in=session_ids)

    def of_user(self, user_id: str) -> Self:
        return self.filter(customer__in=ExampleQuestion.digests_of(user_id))

    def exported(self) -> Iterable[dict[str, Any]]:
        return self.values("text")

    def erase(self, receipt: str) -> int:
        """What was learned outlives the chat, but not the customer's wish. How many there were."""
        return 0 if receipt == RETENTION else self.delete()[0]


class ExampleQuestion(models.Model):
    """How customers ask for an article. Three real phrasings lift retrieval by ten points.

    One that a customer asked remembers whose it is: by the chat, and where that is past retention by a digest of the
    customer's id under SECRET_KEY.
    """

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="questions")
    text = models.CharField(max_length=PHRASING)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.SET_NULL, null=True, editable=False, related_name="taught"
    )
    customer = models.CharField(max_length=64, blank=True, default="", editable=False, help_text="a digest")

    objects = ExampleQuestionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["article", "text"], name="one_question_once")]
        indexes = [models.Index(fields=["customer"], name="question_of_customer", condition=~Q(customer=""))]

    def __str__(self) -> str:
        return f"question {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            super().save(*args, **kwargs)
            KnowledgeState.changed()

    @staticmethod
    def digest_of(user_id: str | None, key: str | bytes | None = None) -> str:
        if not user_id:
            return ""
        return salted_hmac("agent_app.learned", user_id, secret=key, algorithm="sha256").hexdigest()

    @classmethod
    def digests_of(cls, user_id: str) -> list[str]:
        """Under the site's key, and under those that it had before."""
        return [cls.digest_of(user_id, key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]

    @property
    def is_a_customers(self) -> bool:
        return self.conversation_id is not None or bool(self.customer)

    def as_asked_like(self, other: "ExampleQuestion | None") -> Self:
        """This new one is as much a customer's as the other was."""
        if other is not None:
            self.conversation_id, self.customer = other.conversation_id, other.customer
        return self


class KnowledgeState(models.Model):
    """One row: how often knowledge has changed, who builds the index of it, and how often customers were erased."""

    revision = models.PositiveBigIntegerField(default=1)
    forgotten = models.PositiveBigIntegerField(default=0)
    build_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"revision {self.revision}"

    @classmethod
    def changed(cls) -> None:
        if not cls.objects.filter(pk=1).update(revision=F("revision") + 1):
            cls.objects.get_or_create(pk=1)

    @classmethod
    def current_revision(cls) -> int:
        return cls.now()[0]

    @classmethod
    def now(cls) -> tuple[int, int]:
        """The revision, and how often customers were erased: what an instance asks every half second."""
        return cls.objects.filter(pk=1).values_list("revision", "forgotten").first() or (0, 0)

    @classmethod
    def forget_customers(cls) -> None:
        """In an erasure's own transaction: what any instance remembers of customers' words is to go."""
        cls.objects.get_or_create(pk=1)
        cls.objects.filter(pk=1).update(forgotten=F("forgotten") + 1)

    @classmethod
    def take_build(cls) -> bool:
        """Whether the caller may build now. One builder at a time, whatever the number of instances."""
        cls.objects.get_or_create(pk=1)
        now = timezone.now()
        free = Q(build_until__isnull=True) | Q(build_until__lt=now)
        return bool(cls.objects.filter(free, pk=1).update(build_until=now + BUILD_LEASE))

    @classmethod
    def end_build(cls) -> None:
        cls.objects.filter(pk=1).update(build_until=None)


@receiver(post_delete, sender=Article)
@receiver(post_delete, sender=ExampleQuestion)
def knowledge_deleted(sender: type[models.Model], **kwargs: Any) -> None:
    # A signal, because deleting through a QuerySet (the admin's action) calls no model's delete().
    KnowledgeState.changed()


class TextVector(models.Model):
    """The vector of one text under one embedder, so that a rebuild embeds only what is new."""

    embedder = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)  # SHA-256 of the text
    vector = models.BinaryField()  # float16

    class Meta:
        constraints = [models.UniqueConstraint(fields=["embedder", "digest"], name="one_vector_once")]

    def __str__(self) -> str:
        return self.digest


class IndexGenerationQuerySet(models.QuerySet["IndexGeneration"]):
    def newest(self, embedder: str) -> "IndexGeneration | None":
        """Without its payload: what tells an instance whether there is something to load."""
        return self.filter(embedder=embedder).defer("payload").order_by("-id").first()

    def before(self, revision: int) -> Self:
        """Of older knowledge, of whatever embedder."""
        return self.filter(revision__lt=revision)


class IndexGeneration(models.Model):
    """One whole index of the published articles. Never changed: the newest one is the current one."""

    embedder = models.CharField(max_length=100)
    revision = models.PositiveBigIntegerField(help_text="the knowledge that it holds")
    created_at = models.DateTimeField(auto_now_add=True)
    articles = models.PositiveIntegerField()
    calibration = models.JSONField(default=dict, help_text="thresholds and the reliability table")
    payload = models.BinaryField()

    objects = IndexGenerationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"index {self.pk} of {self.articles} articles"


class UnansweredQuestionQuerySet(models.QuerySet["UnansweredQuestion"]):
    def remember(self, text: str, conversation_id: int | None = None) -> "UnansweredQuestion":
        """Keeps a question that the knowledge could not answer, for whoever writes articles."""
        return self.create(text=text[:2000], conversation_id=conversation_id)

    def unresolved(self) -> Self:
        return self.filter(resolved_at__isnull=True)

    def resolve(self, moment: datetime | None = None) -> int:
        return self.update(resolved_at=moment or timezone.now())


class UnansweredQuestion(models.Model):
    """A question that the agent could not answer. It goes with its conversation, for it is the customer's text."""

    text = models.TextField()
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, null=True, blank=True, related_name="unanswered"
    )
    asked_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    article = models.ForeignKey(
        Article, on_delete=models.SET_NULL, null=True, blank=True, help_text="the article that answers it now"
    )

    objects = UnansweredQuestionQuerySet.as_manager()

    class Meta:
        ordering = ["-asked_at"]
        indexes = [
            models.Index(fields=["-asked_at"], condition=Q(resolved_at__isnull=True), name="unanswered_open"),
        ]

    def __str__(self) -> str:
        return f"question {self.pk}"

    def answered_by(self, article: Article) -> None:
        """Teaches the article this phrasing, and takes the question off the list."""
        with transaction.atomic():
            article.learn(self.text, self.conversation)
            self.article, self.resolved_at = article, timezone.now()
            self.save(update_fields=["article", "resolved_at"])
