"""Knowledge in the admin: articles with the questions customers ask for them, and those that nothing answered."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin, conversation_link
from agent_app.knowledge.indexing import knowledge
from agent_app.models.knowledge import Article, ExampleQuestion, UnansweredQuestion

MOST_ASKED = 2000  # characters of a question that is tried


class ExampleQuestions(admin.TabularInline):
    model = ExampleQuestion
    extra = 1
    verbose_name = _("example question")
    verbose_name_plural = _("example questions: how customers ask for this")


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):
    list_display = ("title", "published", "language", "question_count", "updated_at")
    list_filter = ("published", "language", "updated_at")
    search_fields = ("title", "slug", "body", "questions__text")
    search_help_text = _("Words of the title, the text or an example question.")
    prepopulated_fields = {"slug": ("title",)}
    fields = ("title", "slug", "body", "language", "published")
    inlines = (ExampleQuestions,)
    change_list_template = "admin/agent_app/article/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Article]:
        return super().get_queryset(request).annotate(question_count=Count("questions", distinct=True))

    @admin.display(description=_("example questions"), ordering="question_count")
    def question_count(self, article: Article) -> int:
        return article.question_count  # type: ignore[attr-defined]  # the annotation above

    def get_urls(self) -> list[URLPattern]:
        ask = self.admin_site.admin_view(self.try_view)
        return [path("try/", ask, name="agent_app_article_try"), *super().get_urls()]

    def try_view(self, request: HttpRequest) -> HttpResponse:
        """What the agent would find for a question, and how sure it would be."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()[:MOST_ASKED]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Try a question"),
            "original": _("Try a question"),  # the last of the breadcrumbs
            "has_view_permission": True,
            "media": self.media,
            "asked": asked,
            "found": knowledge.find(asked, 5) if asked else None,
        }
        return TemplateResponse(request, "admin/agent_app/article/try.html", context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "title": request.GET.get("title", "")[:200]}


@admin.register(UnansweredQuestion)
class UnansweredQuestionAdmin(ReadOnlyAdmin):
    list_display = ("question", "asked_at", "chat", "next_step")
    list_display_links = None
    list_filter = (("resolved_at", admin.EmptyFieldListFilter), "asked_at")
    list_select_related = ("conversation", "article")
    list_per_page = 50
    search_fields = ("text",)
    show_full_result_count = False
    actions = ("resolve",)

    @admin.display(description=_("question"))
    def question(self, question: UnansweredQuestion) -> str:
        return question.text[:200]

    @admin.display(description=_("conversation"))
    def chat(self, question: UnansweredQuestion) -> SafeString | None:
        return conversation_link(question.conversation) if question.conversation else None

    @admin.display(description=_("next"))
    def next_step(self, question: UnansweredQuestion) -> SafeString:
        if question.resolved_at:
            return format_html("{}", question.article or _("Done"))
        title = urlencode({"title": question.text[:200]})
        return format_html(
            '<a href="{}?{}">{}</a> · <a href="{}?{}">{}</a>',
            reverse("admin:agent_app_article_add"),
            title,
            _("Write an article"),
            reverse("admin:agent_app_article_try"),
            urlencode({"q": question.text[:MOST_ASKED]}),
            _("Try it"),
        )

    @admin.action(permissions=["resolve"], description=_("Take selected questions off the list"))
    def resolve(self, request: HttpRequest, queryset: QuerySet[UnansweredQuestion]) -> None:
        done = UnansweredQuestion.objects.filter(pk__in=queryset.values("pk")).unresolved().resolve()
        self.message_user(request, _("%d taken off the list.") % done)

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("agent_app.change_unansweredquestion")
