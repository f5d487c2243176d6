"""Articles in the admin, with the questions that customers ask for them."""

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from agent_app.models.knowledge import Article, ExampleQuestion


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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Article]:
        return super().get_queryset(request).annotate(question_count=Count("questions", distinct=True))

    @admin.display(description=_("example questions"), ordering="question_count")
    def question_count(self, article: Article) -> int:
        return article.question_count  # type: ignore[attr-defined]  # the annotation above
