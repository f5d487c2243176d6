"""What the knowledge doors take and give."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.text import slugify
from rest_framework import serializers

from agent_app.knowledge.retrieval import Band
from agent_app.models import Article
from agent_app.models.refusal import Refused

MOST_BODY = 100_000  # characters
MOST_QUESTIONS = 200

TAKEN = Refused("conflict", "There is an article of that slug: choose another, or change that one.", field="slug")


class ArticleSerializer(serializers.ModelSerializer[Article]):
    slug = serializers.SlugField(
        max_length=120, required=False, help_text="its address; made of the title if not given"
    )
    body = serializers.CharField(max_length=MOST_BODY, help_text="Markdown")
    questions = serializers.ListField(
        child=serializers.CharField(max_length=500),
        required=False,
        max_length=MOST_QUESTIONS,
        help_text="how customers ask for it",
    )
    url = serializers.CharField(source="get_absolute_url", read_only=True)

    class Meta:
        model = Article
        fields = ["slug", "title", "body", "language", "published", "questions", "url", "created_at", "updated_at"]

    def to_representation(self, article: Article) -> dict[str, Any]:
        shown = {name: field for name, field in self.fields.items() if name != "questions"}
        wire = {name: field.to_representation(field.get_attribute(article)) for name, field in shown.items()}
        return {**wire, "questions": article.question_texts()}

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.instance is None and not given.get("slug"):
            given["slug"] = slugify(given["title"])[:120]
            if not given["slug"]:
                raise serializers.ValidationError({"slug": "Give a slug: the title holds no letters for one."})
        return given

    def create(self, given: dict[str, Any]) -> Article:
        return self.write(Article(), given)

    def update(self, article: Article, given: dict[str, Any]) -> Article:
        return self.write(article, given)

    def write(self, article: Article, given: dict[str, Any]) -> Article:
        questions = given.pop("questions", None)
        for name, value in given.items():
            setattr(article, name, value)
        try:
            article.clean()  # no draft is published without a title and an answer, as in the admin
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from None
        try:
            with transaction.atomic():
                article.save()
                if questions is not None:
                    article.set_questions(questions)
        except IntegrityError:  # the slug is the only thing that is unique
            raise TAKEN from None
        return Article.objects.with_questions().get(pk=article.pk)


class ArticlePageSerializer(serializers.Serializer[Any]):
    results = ArticleSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text="give it as cursor for what follows; null: the end")


class ArticleQuerySerializer(serializers.Serializer[Any]):
    q = serializers.CharField(required=False, default="", max_length=200, help_text="words of title, text or slug")
    cursor = serializers.CharField(required=False, default="", help_text="the next_cursor of the page before")
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=200)


class SearchQuerySerializer(serializers.Serializer[Any]):
    q = serializers.CharField(max_length=2000)
    limit = serializers.IntegerField(required=False, default=5, min_value=1, max_value=20)


class HitSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField()
    heading = serializers.CharField()
    passage = serializers.CharField(help_text="Markdown, verbatim")
    score = serializers.FloatField()


class FindingsSerializer(serializers.Serializer[Any]):
    question = serializers.CharField(help_text="as searched, spelling mended")
    band = serializers.ChoiceField(choices=[each.value for each in Band], help_text="what the agent would do")
    probability = serializers.FloatField(help_text="that the first result answers it")
    results = HitSerializer(many=True)
