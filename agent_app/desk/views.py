"""The desk's pages, for staff who may view conversations. Reading only: acting on a chat comes with its socket."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agent_app.desk import inbox
from agent_app.markdown import to_html
from agent_app.models import Conversation

View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """Behind the staff login; who lacks the permission is told so, rather than asked to log in again."""

    def allowed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_perm("agent_app.view_conversation"):
            return render(request, "agent_app/desk/forbidden.html", status=403)
        return view(request, *args, **kwargs)

    return never_cache(require_safe(login_required(allowed)))


@staff_page
def conversations(request: HttpRequest) -> HttpResponse:
    if "tab" not in request.GET:
        return redirect(f"{reverse('desk')}?tab={first_tab()}")
    return render(request, "agent_app/desk/desk.html", list_of(request))


@staff_page
def thread(request: HttpRequest, thread_id: str) -> HttpResponse:
    conversation = get_object_or_404(Conversation.objects.select_related("assignee"), thread_id=thread_id)
    context = list_of(request) | {
        "conversation": conversation,
        "answers": inbox.who_answers(conversation),
        "name": conversation.user_id or "Visitor",
        "quiet_for": inbox.short_age(timezone.now() - conversation.updated_at),
        "messages": [(entry, to_html(entry.text)) for entry in conversation.messages.after(0).entries()],
    }
    return render(request, "agent_app/desk/thread.html", context)


def first_tab() -> str:
    """Whoever waits for a person comes first; a quiet desk shows everything."""
    return "waiting" if Conversation.objects.waiting().exists() else "all"


def list_of(request: HttpRequest) -> dict[str, Any]:
    """The list beside every page of the desk; an unknown tab is All."""
    tabs = inbox.tabs_of(request.user.pk)
    tab = next((tab for tab in tabs if tab.name == request.GET.get("tab")), tabs[-1])
    words = request.GET.get("q", "").strip()
    cards = inbox.cards_of(tab, words)
    place = QueryDict(mutable=True)
    place.update({"tab": tab.name} | ({"q": words} if words else {}))
    return {
        "tabs": tabs,
        "tab": tab,
        "words": words,
        "cards": cards[: inbox.MOST_CARDS],
        "more": len(cards) > inbox.MOST_CARDS,
        "most": inbox.MOST_CARDS,
        "place": place.urlencode(),
    }
