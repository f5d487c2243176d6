"""Learning in the admin: what customers asked in vain, by meaning, and one click from there to an article."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from agent_app.admin.audited import record
from agent_app.admin.reading import ReadOnlyAdmin, conversation_link
from agent_app.knowledge.indexing import knowledge
from agent_app.knowledge.learning import Changed, known_questions
from agent_app.knowledge.retrieval import Findings
from agent_app.models.knowledge import Article, UnansweredQuestion
from agent_app.models.missed import Missed, draft, missed_named, missed_questions, resolve, teach

MOST_ASKED = 2000  # characters of a question that is tried
MOST_MISSED = 300  # of each kind that the page groups
GROUPS_A_PAGE = 15
SUGGESTED = 3  # articles
MOST_TAUGHT = 50  # phrasings at once


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that mean much the same; the first is their centre."""

    missed: Sequence[Missed]
    findings: Findings  # what the knowledge says to the centre

    @property
    def centre(self) -> str:
        return self.missed[0].text

    @property
    def unhelpful(self) -> int:
        return sum(each.unhelpful for each in self.missed)


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
    change_list_template = "admin/agent_app/unansweredquestion/change_list.html"

    class Media:
        css = {"all": ("agent_app/admin.css",)}

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
        # By its number: addresses end up in logs and histories.
        return format_html(
            '<button type="submit" class="link" formaction="{}" name="key" value="u{}">{}</button>'
            ' · <a href="{}?question={}">{}</a>',
            reverse("admin:agent_app_unansweredquestion_draft"),
            question.pk,
            _("Write an article"),
            reverse("admin:agent_app_article_try"),
            question.pk,
            _("Try it"),
        )

    @admin.action(permissions=["resolve"], description=_("Take selected questions off the list"))
    def resolve(self, request: HttpRequest, queryset: QuerySet[UnansweredQuestion]) -> None:
        done = UnansweredQuestion.objects.filter(pk__in=queryset.values("pk")).unresolved().resolve()
        record(request, "questions.resolved", count=done)
        self.message_user(request, _("%d taken off the list.") % done)

    # ---- by meaning ----

    def get_urls(self) -> list[URLPattern]:
        pages = {"groups": self.groups_view, "teach": self.teach_view, "draft": self.draft_view, "drop": self.drop_view}
        return [
            *(
                path(f"{name}/", self.admin_site.admin_view(view), name=f"agent_app_unansweredquestion_{name}")
                for name, view in pages.items()
            ),
            *super().get_urls(),
        ]

    def groups_view(self, request: HttpRequest) -> HttpResponse:
        """What customers asked in vain, by meaning, the most frequent first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        missed = missed_questions(MOST_MISSED)
        grouped = knowledge.grouped([each.text[:MOST_ASKED] for each in missed])
        page = Paginator(grouped, GROUPS_A_PAGE).get_page(request.GET.get("p"))
        groups = [group_of([missed[place] for place in places]) for places in page]
        articles = Article.objects.order_by("title").values_list("slug", "title")
        return self.page(request, "groups", _("Asked in vain"), groups=groups, pages=page, articles=articles)

    def teach_view(self, request: HttpRequest) -> HttpResponse:
        """Shows what the phrasings would alter, and adds them to the article once that is confirmed."""
        if not request.user.has_perm("agent_app.change_article"):
            raise PermissionDenied
        if self.ticked_none(request):
            return self.tick_first(request)
        missed = self.chosen(request)
        article = get_object_or_404(Article, slug=request.POST.get("article", ""))
        if request.POST.get("confirmed"):
            added = teach(article, missed)
            record(request, "article.taught", number=str(article.pk), phrasings=added)
            done = ngettext("%d phrasing was added to “%s”.", "%d phrasings were added to “%s”.", added)
            self.message_user(request, done % (added, article.title), messages.SUCCESS)
            return redirect("admin:agent_app_unansweredquestion_groups")
        phrasings = list(dict.fromkeys(each.text.strip() for each in missed))
        also = [each.text[:MOST_ASKED] for each in missed_questions(MOST_MISSED)]
        changed = knowledge.would_change(article.slug, *phrasings, also=also) if article.published else []
        context = {
            "article": article,
            "phrasings": phrasings,
            "keys": [each.key for each in missed],
            **told_apart(changed),
        }
        return self.page(request, "teach", _("Add to an article"), **context)

    def draft_view(self, request: HttpRequest) -> HttpResponse:
        """A draft article of these questions; it alters nothing until it is published."""
        if not request.user.has_perm("agent_app.add_article"):
            raise PermissionDenied
        if self.ticked_none(request):
            return self.tick_first(request)
        article = draft(self.chosen(request))
        record(request, "article.drafted", number=str(article.pk))
        self.message_user(
            request, _("This is a draft: give it a title, write the answer, try it, and publish it."), messages.SUCCESS
        )
        return redirect("admin:agent_app_article_change", article.pk)

    def drop_view(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or not self.has_resolve_permission(request):
            raise PermissionDenied
        if self.ticked_none(request):
            return self.tick_first(request)
        done = resolve(request.POST.getlist("key"))
        record(request, "questions.resolved", count=done)
        self.message_user(request, _("%d taken off the list.") % done)
        return redirect("admin:agent_app_unansweredquestion_groups")

    def ticked_none(self, request: HttpRequest) -> bool:
        return request.method == "POST" and not request.POST.getlist("key")

    def tick_first(self, request: HttpRequest) -> HttpResponse:
        self.message_user(request, _("Tick at least one question."), messages.WARNING)
        return redirect("admin:agent_app_unansweredquestion_groups")

    def chosen(self, request: HttpRequest) -> list[Missed]:
        """The questions that were ticked. Http404 for none that is still on the list."""
        found = missed_named(request.POST.getlist("key")[:MOST_TAUGHT])
        if request.method != "POST" or not found:
            raise Http404
        return found

    def page(self, request: HttpRequest, name: str, title: Any, **more: Any) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": title,  # the last of the breadcrumbs
            "has_view_permission": True,
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, f"admin/agent_app/unansweredquestion/{name}.html", context)

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("agent_app.change_unansweredquestion")


def told_apart(changed: Iterable[Changed]) -> dict[str, list[Changed]]:
    """For the template: changes of what the knowledge answers already, and of what is still open."""
    known = set(known_questions(knowledge.current().sources))
    changed = list(changed)
    return {
        "altered": [change for change in changed if change.question in known],
        "answered_now": [change for change in changed if change.question not in known],
    }


def group_of(missed: Sequence[Missed]) -> Group:
    return Group(missed, knowledge.find(missed[0].text[:MOST_ASKED], SUGGESTED))
