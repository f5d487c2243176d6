"""Knowledge in the admin: articles with the questions customers ask for them, tried before they are saved."""

import re
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from agent_app.admin.audited import Audited
from agent_app.admin.learning import MOST_ASKED, told_apart
from agent_app.admin.reading import ReadOnlyAdmin, whole
from agent_app.knowledge.calibration import Calibration
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.passages import Source
from agent_app.knowledge.report import reliability_plot
from agent_app.knowledge.retrieval import Shared
from agent_app.models.knowledge import Article, ExampleQuestion, IndexGeneration, UnansweredQuestion
from agent_app.models.missed import missed_questions
from agent_app.models.phrasings import in_other_words

MOST_SHARED = 100  # texts of several articles that are named beside the calibration
OPEN_ASKED = 100  # open questions of each kind that a preview asks, too
QUESTION_FIELD = re.compile(r"questions-\d+-text$")
NEW_ARTICLE = "new-article"


class ExampleQuestionForms(BaseInlineFormSet):
    def add_fields(self, form: Any, index: int | None) -> None:
        """Nor has its box that deletes it."""
        super().add_fields(form, index)
        if "DELETE" in form.fields:
            form.fields["DELETE"].widget.attrs["aria-label"] = _("Delete this question")

    @cached_property
    def made_of(self) -> dict[str, ExampleQuestion]:
        """The customers' questions that are deleted here, by the new text in which they are put in other words."""
        removed = {form.initial["text"]: form.instance for form in self.deleted_forms if form in self.initial_forms}
        customers = {text for text, question in removed.items() if question.is_a_customers}
        added = [form for form in self.extra_forms if form not in self.deleted_forms]
        new = [form.cleaned_data["text"] for form in added if "text" in form.cleaned_data]
        return {text: removed[old] for text, old in in_other_words(removed, customers, new).items()}

    def save_new(self, form: Any, commit: bool = True) -> Any:
        form.instance.as_asked_like(self.made_of.get(form.cleaned_data["text"]))
        return super().save_new(form, commit)


class ExampleQuestions(admin.TabularInline):
    model = ExampleQuestion
    formset = ExampleQuestionForms
    extra = 1
    verbose_name = _("example question")
    verbose_name_plural = _("example questions: how customers ask for this")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A row of the table has no label of its own."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.widget.attrs.setdefault("aria-label", str(self.verbose_name))
        return field


@admin.register(Article)
class ArticleAdmin(Audited):
    named_in_logs = False  # a draft's title may be what a customer asked
    list_display = ("title", "published", "language", "question_count", "updated_at")
    list_filter = ("published", "language", "updated_at")
    search_fields = ("title", "slug", "body", "questions__text")
    search_help_text = _("Words of the title, the text or an example question.")
    prepopulated_fields = {"slug": ("title",)}
    fields = ("title", "slug", "body", "language", "published")
    inlines = (ExampleQuestions,)
    change_list_template = "admin/agent_app/article/change_list.html"
    change_form_template = "admin/agent_app/article/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Article]:
        return super().get_queryset(request).annotate(question_count=Count("questions", distinct=True))

    @admin.display(description=_("example questions"), ordering="question_count")
    def question_count(self, article: Article) -> int:
        return article.question_count  # type: ignore[attr-defined]  # the annotation above

    def get_urls(self) -> list[URLPattern]:
        ask = self.admin_site.admin_view(self.try_view)
        look = self.admin_site.admin_view(self.preview_view)
        return [
            path("try/", ask, name="agent_app_article_try"),
            path("preview/", look, name="agent_app_article_preview"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """For the article's form, as it stands there unsaved: what it would alter, and what it says to a question."""
        if request.method != "POST" or not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        instead_of = request.POST.get("instead_of") or None
        asked = request.POST.get("q", "").strip()[:MOST_ASKED]
        source = written(request.POST)
        if source is None:
            return TemplateResponse(request, "admin/agent_app/article/preview.html", {"nothing": True})
        open_ones = [each.text[:MOST_ASKED] for each in missed_questions(OPEN_ASKED)]
        preview = knowledge.with_article(source, instead_of, open_ones)
        context = {
            "asked": asked,
            "found": preview.index.search(asked, knowledge.embedder.embed, 5) if asked else None,
            "calibration": preview.index.calibration,
            "preview": preview,
            "shared": [
                (each.text, [other for other in each.sources if other.slug != source.slug])
                for each in preview.index.shared
                if source.slug in {other.slug for other in each.sources}
            ],
            **told_apart(preview.changed),
            "published": "published" in request.POST,
            "here": source.slug,
        }
        return TemplateResponse(request, "admin/agent_app/article/preview.html", context)

    def try_view(self, request: HttpRequest) -> HttpResponse:
        """What the agent would find for a question, and how sure it would be.

        What is asked comes in the body, or as the number of what a customer asked: addresses end up in logs.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = (request.POST.get("q", "") if request.method == "POST" else asked_by_customer(request)).strip()
        asked = asked[:MOST_ASKED]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Try a question"),
            "original": _("Try a question"),  # the last of the breadcrumbs
            "has_view_permission": True,
            "media": self.media,
            "asked": asked,
            "found": knowledge.find(asked, 5) if asked else None,
            "calibration": knowledge.current().calibration if asked else None,
        }
        return TemplateResponse(request, "admin/agent_app/article/try.html", context)


def asked_by_customer(request: HttpRequest) -> str:
    """The text of the question that the address names by its number; "" where it names none."""
    number = request.GET.get("question")
    if number is None or not request.user.has_perm("agent_app.view_unansweredquestion"):
        return ""
    return get_object_or_404(UnansweredQuestion, pk=whole(number)).text


def written(form: QueryDict) -> Source | None:
    """The article that stands in the admin's form; None while it has no title."""
    title = form.get("title", "").strip()
    if not title:
        return None
    questions = [
        str(form[name]).strip()
        for name in form
        if QUESTION_FIELD.match(name) and str(form[name]).strip() and not form.get(name.replace("-text", "-DELETE"))
    ]
    slug = form.get("slug") or NEW_ARTICLE
    return Source(slug, title, form.get("body", ""), form.get("language") or "en", tuple(dict.fromkeys(questions)))


@admin.register(IndexGeneration)
class IndexGenerationAdmin(ReadOnlyAdmin):
    """The reliability table of each index that there is; the newest of the current embedder answers."""

    list_display = ("__str__", "created_at", "embedder", "answers_from", "kept_promise")
    list_filter = ("embedder",)
    fields = ()
    change_form_template = "admin/agent_app/indexgeneration/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[IndexGeneration]:
        return super().get_queryset(request).defer("payload")

    @admin.display(description=_("answers from"))
    def answers_from(self, generation: IndexGeneration) -> str:
        return f"{calibration_of(generation).answer_at:.2f}"

    @admin.display(description=_("calibration error"))
    def kept_promise(self, generation: IndexGeneration) -> str:
        return f"{calibration_of(generation).ece:.3f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        generation = self.get_object(request, unquote(object_id))
        more = dict(extra_context or {})
        if generation is not None:
            calibration = calibration_of(generation)
            newest = IndexGeneration.objects.newest(generation.embedder)
            more |= {
                "calibration": calibration,
                "percent": {name: 100 * getattr(calibration, name) for name in ("target", "answered", "wrong")},
                "plot": mark_safe(reliability_plot(calibration.table)),  # noqa: S308 - numbers alone, made by us
                "newest": newest,
                "in_use": generation.embedder == knowledge.embedder.name,
            }
            if more["in_use"] and newest == generation and request.user.has_perm("agent_app.view_article"):
                shared = knowledge.current().shared
                more |= {"shared_count": len(shared), "shared": with_articles(shared[:MOST_SHARED])}
        return super().change_view(request, object_id, form_url, more)


def calibration_of(generation: IndexGeneration) -> Calibration:
    return Calibration.from_json(generation.calibration)


def with_articles(shared: Sequence[Shared]) -> list[tuple[str, list[Article]]]:
    """Each text that stands in several articles, and those."""
    articles = Article.objects.in_bulk({source.slug for each in shared for source in each.sources}, field_name="slug")
    return [(each.text, [articles[s.slug] for s in each.sources if s.slug in articles]) for each in shared]
